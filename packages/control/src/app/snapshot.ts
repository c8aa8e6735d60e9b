import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { SnapshotFilter, SnapshotPageRequest } from '../domain/snapshot-query.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import type { Clock } from '../ports/clock.ts'
import type { SnapshotRecords } from '../ports/records.ts'
import type { SnapshotLists } from '../ports/snapshots.ts'
import { changeableSnapshot, visibleSnapshot } from './snapshot-access.ts'
import { requireFewPairs } from './volume.ts'

/** Reading snapshots, and changing what is only described by them. */
export interface Snapshots {
  /** Throws `notFound` with Cinder's text, also for another project's. */
  show(principal: Principal, snapshotId: string): Promise<Snapshot>
  /** The filter's project is the caller's to choose: see `isAdmin`. */
  list(principal: Principal, request: SnapshotPageRequest): Promise<Snapshot[]>
  count(principal: Principal, filter: SnapshotFilter): Promise<number>
  update(
    principal: Principal,
    snapshotId: string,
    fields: { name?: string | null; description?: string | null },
  ): Promise<Snapshot>
  /** Adds to the metadata, or replaces it whole. */
  setMetadata(
    principal: Principal,
    snapshotId: string,
    metadata: Record<string, string>,
    how: 'merge' | 'replace',
  ): Promise<Record<string, string>>
  removeMetadata(principal: Principal, snapshotId: string, key: string): Promise<boolean>
}

export interface SnapshotsSources {
  snapshots: SnapshotRecords
  snapshotLists: SnapshotLists
  clock: Clock
}

export function createSnapshots({ snapshots, snapshotLists, clock }: SnapshotsSources): Snapshots {
  const change = (snapshotId: string, fields: Partial<Omit<Snapshot, 'id'>>): Promise<void> =>
    snapshots.update(snapshotId, { ...fields, updatedAt: clock.now().toISOString() })
  return {
    async show(principal, snapshotId) {
      const snapshot = await visibleSnapshot(snapshots, principal, snapshotId)
      enforce(principal, 'volume:get_snapshot', 'reader', snapshot.projectId)
      return snapshot
    },
    async list(principal, request) {
      enforce(principal, 'volume:get_all_snapshots', 'reader')
      return snapshotLists.page(request)
    },
    async count(principal, filter) {
      enforce(principal, 'volume:get_all_snapshots', 'reader')
      return snapshotLists.count(filter)
    },
    async update(principal, snapshotId, fields) {
      await changeableSnapshot(snapshots, principal, snapshotId, 'volume:update_snapshot')
      await change(snapshotId, fields)
      return snapshots.get(snapshotId)
    },
    async setMetadata(principal, snapshotId, metadata, how) {
      const policy = 'volume:update_snapshot_metadata'
      const snapshot = await changeableSnapshot(snapshots, principal, snapshotId, policy)
      const next = how === 'replace' ? metadata : { ...snapshot.metadata, ...metadata }
      requireFewPairs(next, 'a snapshot')
      await change(snapshotId, { metadata: next })
      return next
    },
    async removeMetadata(principal, snapshotId, key) {
      const policy = 'volume:delete_snapshot_metadata'
      const snapshot = await changeableSnapshot(snapshots, principal, snapshotId, policy)
      if (!Object.hasOwn(snapshot.metadata, key)) return false
      const { [key]: _, ...rest } = snapshot.metadata
      await change(snapshotId, { metadata: rest })
      return true
    },
  }
}
