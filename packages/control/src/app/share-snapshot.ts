import { randomUUID } from 'node:crypto'
import { DomainError } from '@volant/contract'
import { isInTheWay } from '../domain/giving-way.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { ShareSnapshotFilter, ShareSnapshotPageRequest } from '../domain/share-query.ts'
import type { Share } from '../domain/share.ts'
import { deletableSnapshotStatuses, type Snapshot, type SnapshotStatus } from '../domain/snapshot.ts'
import { createSnapshot } from '../operations/create-snapshot.ts'
import { deleteSnapshot } from '../operations/delete-snapshot.ts'
import { revertShare } from '../operations/revert-share.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { SnapshotRecords } from '../ports/records.ts'
import type { ShareLists, ShareQuotaRecords } from '../ports/share-records.ts'
import type { ShareRecords, ShownSnapshotRecords } from '../ports/shares.ts'
import { cancelOperationOn } from './operation-cancel.ts'
import {
  administeredShareSnapshot,
  changeableShare,
  changeableShareSnapshot,
  invalidShare,
  invalidShareSnapshot,
  requireIdle,
  visibleShareSnapshot,
  type ShareSnapshot,
} from './share-visibility.ts'
import { requireFewPairs } from './volume.ts'

export interface NewShareSnapshot {
  shareId: string
  name: string | null
  description: string | null
  metadata: Record<string, string>
  requestId: string
}

/** A snapshot, and the size that its share has now. */
export interface ShareSnapshotFacts {
  snapshot: ShareSnapshot
  shareSizeGib: number
}

export interface ShareSnapshots {
  /** Throws `notFound` with Manila's text, also for another project's. */
  show(principal: Principal, snapshotId: string): Promise<ShareSnapshotFacts>
  list(principal: Principal, request: ShareSnapshotPageRequest): Promise<ShareSnapshotFacts[]>
  count(principal: Principal, filter: ShareSnapshotFilter): Promise<number>
  /** Returns while the snapshot is still `creating`. Throws `overQuota` with Manila's words. */
  create(principal: Principal, request: NewShareSnapshot): Promise<ShareSnapshotFacts>
  update(
    principal: Principal,
    snapshotId: string,
    fields: { name?: string | null; description?: string | null },
  ): Promise<ShareSnapshotFacts>
  /** `force` is the administrator's, and takes a snapshot of any status. */
  remove(
    principal: Principal,
    snapshotId: string,
    options: { force: boolean; requestId: string },
  ): Promise<void>
  /** A real cancel of the operation that is under way; where none is, a repair of the record. */
  resetStatus(principal: Principal, snapshotId: string, status: SnapshotStatus): Promise<void>
  setMetadata(
    principal: Principal,
    snapshotId: string,
    metadata: Record<string, string>,
    how: 'merge' | 'replace',
  ): Promise<Record<string, string>>
  removeMetadata(principal: Principal, snapshotId: string, key: string): Promise<boolean>
  /** The share goes back to its latest snapshot. */
  revert(
    principal: Principal,
    shareId: string,
    request: { snapshotId: string; requestId: string },
  ): Promise<void>
}

export interface ShareSnapshotSources {
  shares: ShareRecords
  snapshots: SnapshotRecords
  lists: ShareLists
  shown: Pick<ShownSnapshotRecords, 'find'>
  quotas: Pick<ShareQuotaRecords, 'createSnapshot'>
  engine: OperationEngine
  clock: Clock
}

export function createShareSnapshots(sources: ShareSnapshotSources): ShareSnapshots {
  const { shares, snapshots, lists, clock } = sources
  const factsOf = async (all: readonly Snapshot[]): Promise<ShareSnapshotFacts[]> => {
    const sizes = new Map<string, number>()
    for (const shareId of new Set(all.flatMap((one) => one.shareId ?? []))) {
      sizes.set(shareId, (await shares.find(shareId))?.sizeGib ?? 0)
    }
    return all.map((snapshot) => {
      const shareId = snapshot.shareId ?? ''
      return { snapshot: { ...snapshot, shareId }, shareSizeGib: sizes.get(shareId) ?? snapshot.sizeGib }
    })
  }
  const one = async (snapshot: Snapshot): Promise<ShareSnapshotFacts> =>
    (await factsOf([snapshot]))[0] as ShareSnapshotFacts
  const change = (snapshotId: string, fields: Partial<Omit<Snapshot, 'id'>>): Promise<void> =>
    snapshots.update(snapshotId, { ...fields, updatedAt: clock.now().toISOString() })
  return {
    async show(principal, snapshotId) {
      const snapshot = await visibleShareSnapshot(snapshots, principal, snapshotId)
      enforce(principal, 'share_snapshot:get_snapshot', 'reader', snapshot.projectId)
      return one(snapshot)
    },
    async list(principal, request) {
      enforce(principal, 'share_snapshot:get_all_snapshots', 'reader')
      return factsOf(await lists.snapshotPage(request))
    },
    async count(principal, filter) {
      enforce(principal, 'share_snapshot:get_all_snapshots', 'reader')
      return lists.snapshotCount(filter)
    },
    create: async (principal, request) => one(await create(sources, principal, request)),
    async update(principal, snapshotId, fields) {
      await changeableShareSnapshot(snapshots, principal, snapshotId, 'share_snapshot:snapshot_update')
      await change(snapshotId, fields)
      return one(await snapshots.get(snapshotId))
    },
    remove: (principal, snapshotId, options) => remove(sources, principal, snapshotId, options),
    async resetStatus(principal, snapshotId, status) {
      const policy = 'share_snapshot:reset_status'
      const snapshot = await administeredShareSnapshot(snapshots, principal, snapshotId, policy)
      // While an operation is under way the reset is its cancel, and nothing else: it leaves the status that is true.
      if ((await cancelOperationOn(sources.engine, { type: 'snapshot', id: snapshotId })) !== 'none') return
      if (status === 'available' && snapshot.imageId === null) {
        throw invalidShareSnapshot(`Snapshot ${snapshotId} has no data: its creation failed. Delete it.`)
      }
      await change(snapshotId, { status })
    },
    async setMetadata(principal, snapshotId, metadata, how) {
      const policy = 'share_snapshot:update_metadata'
      const snapshot = await changeableShareSnapshot(snapshots, principal, snapshotId, policy)
      const next = how === 'replace' ? metadata : { ...snapshot.metadata, ...metadata }
      requireFewPairs(next, 'a snapshot')
      await change(snapshotId, { metadata: next })
      return next
    },
    async removeMetadata(principal, snapshotId, key) {
      const policy = 'share_snapshot:delete_metadata'
      const snapshot = await changeableShareSnapshot(snapshots, principal, snapshotId, policy)
      if (!Object.hasOwn(snapshot.metadata, key)) return false
      const { [key]: _, ...rest } = snapshot.metadata
      await change(snapshotId, { metadata: rest })
      return true
    },
    revert: (principal, shareId, request) => revert(sources, principal, shareId, request),
  }
}

async function create(
  sources: ShareSnapshotSources,
  principal: Principal,
  request: NewShareSnapshot,
): Promise<Snapshot> {
  const { shares, snapshots, quotas, engine, clock } = sources
  const share = await changeableShare(shares, principal, request.shareId, 'share:create_snapshot')
  if (!share.snapshotSupport) {
    throw new DomainError(
      'invalid',
      `Snapshots cannot be created for share '${share.id}' since it does not have that capability.`,
      { httpStatus: 422 },
    )
  }
  requireIdle(share)
  const refused = ({ status }: Share) =>
    invalidShare(`Source share status must be available, and it is ${status}.`)
  if (share.status !== 'available' || share.volumeId === null || share.flexvolId === null) {
    throw refused(share)
  }
  const snapshot: Snapshot = {
    id: randomUUID(),
    volumeId: share.volumeId,
    projectId: share.projectId,
    userId: principal.userId,
    name: request.name,
    description: request.description,
    sizeGib: share.sizeGib,
    status: 'creating',
    metadata: request.metadata,
    flexvolId: share.flexvolId,
    shareId: share.id,
    imageId: null,
    method: null,
    createdAt: clock.now().toISOString(),
    updatedAt: null,
  }
  if (!(await quotas.createSnapshot(snapshot))) throw refused(await shares.get(share.id))
  try {
    await engine.start(createSnapshot, {
      snapshotId: snapshot.id,
      volumeId: share.volumeId,
      projectId: snapshot.projectId,
      requestId: request.requestId,
      copyId: randomUUID(),
    })
  } catch (error) {
    await snapshots.remove(snapshot.id)
    throw error
  }
  return snapshot
}

async function remove(
  sources: ShareSnapshotSources,
  principal: Principal,
  snapshotId: string,
  { force, requestId }: { force: boolean; requestId: string },
): Promise<void> {
  const { snapshots, lists, engine, clock } = sources
  const snapshot = force
    ? await administeredShareSnapshot(snapshots, principal, snapshotId, 'share_snapshot:force_delete')
    : await changeableShareSnapshot(snapshots, principal, snapshotId, 'share:delete_snapshot')
  if (!force && !deletableSnapshotStatuses.includes(snapshot.status)) throw notDeletable(snapshot)
  const holder = await engine.holderOf(`snapshot/${snapshotId}`)
  if (isInTheWay(holder)) {
    throw invalidShareSnapshot(
      `Snapshot ${snapshotId} cannot be deleted while operation ${holder.id} (${holder.kind}) is working on it.`,
    )
  }
  const claim = { status: 'deleting', updatedAt: clock.now().toISOString() } as const
  if (!(await snapshots.updateIf(snapshotId, { status: [snapshot.status] }, claim))) {
    throw notDeletable(await snapshots.get(snapshotId))
  }
  try {
    const [user] = await lists.usersOf(snapshotId)
    if (user !== undefined) {
      throw invalidShareSnapshot(`Snapshot ${snapshotId} is in use: share ${user} is being made of it.`)
    }
    const shown = await sources.shown.find(snapshotId)
    await engine.start(deleteSnapshot, {
      snapshotId,
      projectId: snapshot.projectId,
      requestId,
      ...(shown !== undefined && { shownVolumeId: shown.volumeId }),
    })
  } catch (error) {
    await snapshots.updateIf(snapshotId, { status: ['deleting'] }, { status: snapshot.status })
    throw error
  }
}

const notDeletable = ({ status }: Snapshot): DomainError =>
  invalidShareSnapshot(`Share Snapshot status must be one of ('available', 'error'). It is ${status}.`)

async function revert(
  sources: ShareSnapshotSources,
  principal: Principal,
  shareId: string,
  { snapshotId, requestId }: { snapshotId: string; requestId: string },
): Promise<void> {
  const { shares, snapshots, engine, clock } = sources
  const share = await changeableShare(shares, principal, shareId, 'share:revert_to_snapshot')
  await requireRevertible(sources, principal, share, snapshotId)
  const { volumeId, projectId } = share
  if (volumeId === null) throw invalidShare(`Share ${shareId} has no data.`)
  const conflict = (message: string) => new DomainError('conflict', message)
  if (!(await shares.updateIf(shareId, { status: ['available'] }, { status: 'reverting' }))) {
    const { status } = await shares.get(shareId)
    throw conflict(
      `Share ${shareId} is in '${status}' state, but it must be in 'available' state to be reverted to a snapshot.`,
    )
  }
  try {
    const claim = { status: 'restoring', updatedAt: clock.now().toISOString() } as const
    if (!(await snapshots.updateIf(snapshotId, { status: ['available'] }, claim))) {
      throw conflict(`Snapshot ${snapshotId} must be in 'available' state to be restored.`)
    }
    try {
      await engine.start(revertShare, {
        shareId,
        volumeId,
        snapshotId,
        copyId: randomUUID(),
        projectId,
        requestId,
      })
    } catch (error) {
      await snapshots.updateIf(snapshotId, { status: ['restoring'] }, { status: 'available' })
      throw error
    }
  } catch (error) {
    await shares.updateIf(shareId, { status: ['reverting'] }, { status: 'available' })
    throw error
  }
}

async function requireRevertible(
  { snapshots, lists }: ShareSnapshotSources,
  principal: Principal,
  share: Share,
  snapshotId: string,
): Promise<void> {
  const refuse = (code: 'invalid' | 'conflict', message: string): never => {
    throw new DomainError(code, message)
  }
  const snapshot = await visibleShareSnapshot(snapshots, principal, snapshotId).catch(() =>
    refuse('invalid', `Snapshot ${snapshotId} could not be found.`),
  )
  if (!share.revertToSnapshotSupport) {
    refuse(
      'invalid',
      `Share ${share.id} may not be reverted to snapshot ${snapshotId}, because the share does not have that capability.`,
    )
  }
  if (snapshot.shareId !== share.id) {
    refuse('invalid', `Snapshot ${snapshotId} is not associated with share ${share.id}.`)
  }
  if (share.status !== 'available') {
    refuse(
      'conflict',
      `Share ${share.id} is in '${share.status}' state, but it must be in 'available' state to be reverted to a snapshot.`,
    )
  }
  if (snapshot.status !== 'available') {
    refuse(
      'conflict',
      `Snapshot ${snapshotId} is in '${snapshot.status}' state, but it must be in 'available' state to be restored.`,
    )
  }
  requireIdle(share)
  const latest = await lists.latestSnapshot(share.id)
  if (latest?.id !== snapshotId) {
    refuse(
      'conflict',
      `Snapshot ${snapshotId} may not be restored because it is not the most recent snapshot of share ${share.id}. ` +
        `Currently the latest snapshot is ${String(latest?.id)}.`,
    )
  }
  if (share.accessRulesStatus !== 'active') {
    refuse(
      'conflict',
      `Snapshot ${snapshotId} belongs to a share ${share.id} which has access rules that are not active.`,
    )
  }
}
