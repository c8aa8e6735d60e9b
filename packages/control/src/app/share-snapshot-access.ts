import { randomUUID } from 'node:crypto'
import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { catalogId } from '../domain/catalog.ts'
import { exportLocationOf, snapshotJunctionPathOf, type SnapshotAccessRule } from '../domain/share.ts'
import type { Topology } from '../domain/topology.ts'
import { applySnapshotAccess } from '../operations/apply-snapshot-access.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { SnapshotRecords } from '../ports/records.ts'
import type { ShareRecords, ShownSnapshotRecords, SnapshotAccessRecords } from '../ports/shares.ts'
import { accessToOf } from './share-access-rule.ts'
import { changeableShareSnapshot, visibleShareSnapshot, type ShareSnapshot } from './share-visibility.ts'

export interface SnapshotExportLocation {
  id: string
  path: string
  createdAt: string
  updatedAt: string | null
}

/** Who may mount a snapshot, always to read, and where. Nobody, without a rule. */
export interface ShareSnapshotAccess {
  list(principal: Principal, snapshotId: string): Promise<SnapshotAccessRule[]>
  /** Returns while the rule is still `queued_to_apply`. Throws `invalid` where its share does not support it. */
  allow(
    principal: Principal,
    snapshotId: string,
    rule: { accessType: string; accessTo: string; requestId: string },
  ): Promise<SnapshotAccessRule>
  /** Returns while the rule is still `queued_to_deny`. */
  deny(
    principal: Principal,
    snapshotId: string,
    request: { ruleId: string; requestId: string },
  ): Promise<void>
  exportLocations(principal: Principal, snapshotId: string): Promise<SnapshotExportLocation[]>
}

export interface ShareSnapshotAccessSources {
  shares: ShareRecords
  snapshots: SnapshotRecords
  snapshotAccess: SnapshotAccessRecords
  shown: ShownSnapshotRecords
  engine: OperationEngine
  topology: Pick<Topology, 'clusters'>
  clock: Clock
}

export const createShareSnapshotAccess = (sources: ShareSnapshotAccessSources): ShareSnapshotAccess => {
  const { snapshots, snapshotAccess } = sources
  return {
    async list(principal, snapshotId) {
      const { projectId } = await visibleShareSnapshot(snapshots, principal, snapshotId)
      enforce(principal, 'share_snapshot:access_list', 'reader', projectId)
      return snapshotAccess.ofSnapshot(snapshotId)
    },
    allow: (principal, snapshotId, rule) => allow(sources, principal, snapshotId, rule),
    deny: (principal, snapshotId, request) => deny(sources, principal, snapshotId, request),
    async exportLocations(principal, snapshotId) {
      const snapshot = await visibleShareSnapshot(snapshots, principal, snapshotId)
      enforce(principal, 'share_snapshot_export_location:index', 'reader', snapshot.projectId)
      const share = await sources.shares.get(snapshot.shareId)
      const service = sources.topology.clusters.find(({ name }) => name === share.cluster)?.shares
      if (!share.mountSnapshotSupport || snapshot.imageId === null || service === undefined) return []
      const { createdAt, updatedAt } = snapshot
      const junctionPath = snapshotJunctionPathOf(snapshotId)
      const path = exportLocationOf({ lif: service.lif, junctionPath })
      return [{ id: catalogId('share-snapshot-export-location', snapshotId), path, createdAt, updatedAt }]
    },
  }
}

async function allow(
  sources: ShareSnapshotAccessSources,
  principal: Principal,
  snapshotId: string,
  asked: { accessType: string; accessTo: string; requestId: string },
): Promise<SnapshotAccessRule> {
  const { shares, snapshots, snapshotAccess, clock } = sources
  const policy = 'share_snapshot:allow_access'
  const snapshot = await changeableShareSnapshot(snapshots, principal, snapshotId, policy)
  const share = await shares.get(snapshot.shareId)
  if (!share.mountSnapshotSupport) {
    throw new DomainError(
      'invalid',
      `Cannot control access to the snapshot ${snapshotId} since the parent share ${share.id} does not support mounting ` +
        'its snapshots. A share of a type with mount_snapshot_support=True does; or create a share from the snapshot.',
    )
  }
  const accessTo = accessToOf(asked)
  if (snapshot.status !== 'available' || share.exportId === null) {
    throw new DomainError(
      'invalid',
      'New access rules cannot be applied while the snapshot or any of its replicas or migration copies lacks a valid ' +
        `host or is not in available state. Snapshot ${snapshotId} is ${snapshot.status}.`,
    )
  }
  const rule: SnapshotAccessRule = {
    id: randomUUID(),
    snapshotId,
    accessType: 'ip',
    accessTo,
    state: 'queued_to_apply',
    createdAt: clock.now().toISOString(),
    updatedAt: null,
  }
  await snapshotAccess.create(rule).catch((error: unknown) => {
    const isThere = error instanceof DomainError && error.code === 'conflict'
    throw isThere
      ? new DomainError('invalid', `Share snapshot access ip:${accessTo} exists.`, { cause: error })
      : error
  })
  try {
    await apply(sources, snapshot, asked.requestId)
  } catch (error) {
    await snapshotAccess.remove(rule.id)
    throw error
  }
  return rule
}

async function deny(
  sources: ShareSnapshotAccessSources,
  principal: Principal,
  snapshotId: string,
  { ruleId, requestId }: { ruleId: string; requestId: string },
): Promise<void> {
  const { snapshots, snapshotAccess } = sources
  const policy = 'share_snapshot:deny_access'
  const snapshot = await changeableShareSnapshot(snapshots, principal, snapshotId, policy)
  const rule = await snapshotAccess.find(ruleId)
  if (rule === undefined) {
    throw new DomainError('notFound', `Share snapshot access rule ${ruleId} could not be found.`)
  }
  if (rule.snapshotId !== snapshotId) {
    throw new DomainError('invalid', 'Access rule provided is not associated with given snapshot.')
  }
  if (rule.state === 'queued_to_deny' || rule.state === 'denying') return
  await snapshotAccess.updateIf(ruleId, [rule.state], 'queued_to_deny')
  try {
    await apply(sources, snapshot, requestId)
  } catch (error) {
    await snapshotAccess.updateIf(ruleId, ['queued_to_deny'], rule.state)
    throw error
  }
}

/** How many operations on the snapshot a request may meet, and how long it waits for them, in milliseconds. */
const attempts = 20
const patienceMs = 10_000

/**
 * Where a move works on its volume the export alone is changed, if it is shown: what is left of one without a rule goes
 * later, by itself.
 */
async function apply(
  { engine, shown }: ShareSnapshotAccessSources,
  { id: snapshotId, projectId }: ShareSnapshot,
  requestId: string,
): Promise<void> {
  const until = performance.now() + patienceMs
  for (let attempt = 1; ; attempt += 1) {
    const known = await shown.find(snapshotId)
    const volumeId = known?.volumeId ?? randomUUID()
    const isMoved =
      known !== undefined && (await isHeld(engine, [`volume/${volumeId}`, `snapshot/${snapshotId}`]))
    const volume = isMoved ? null : { volumeId, copyId: randomUUID(), attachmentId: randomUUID() }
    try {
      await engine.start(applySnapshotAccess, { snapshotId, projectId, requestId, volume })
      return
    } catch (error) {
      const isTaken = error instanceof DomainError && error.code === 'conflict'
      if (!isTaken || attempt === attempts || performance.now() > until) throw error
      const holder = await engine.holderOf(`snapshot-access/${snapshotId}`)
      if (holder === undefined && (await isHeld(engine, [`snapshot/${snapshotId}`]))) throw error
      if (holder === undefined) continue
      if (holder.kind !== applySnapshotAccess.kind) throw error
      await engine.settled(holder.id)
    }
  }
}

/** By another operation than one on the snapshot's rules. */
async function isHeld(engine: OperationEngine, keys: readonly string[]): Promise<boolean> {
  for (const key of keys) {
    const holder = await engine.holderOf(key)
    if (holder !== undefined && holder.kind !== applySnapshotAccess.kind) return true
  }
  return false
}
