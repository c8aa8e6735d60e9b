import { randomUUID } from 'node:crypto'
import { DomainError } from '@volant/contract'
import { isInTheWay } from '../domain/giving-way.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { deletableSnapshotStatuses, snapshotableStatuses, type Snapshot } from '../domain/snapshot.ts'
import type { SnapshotStatus } from '../domain/snapshot.ts'
import type { Volume } from '../domain/volume.ts'
import { createSnapshot } from '../operations/create-snapshot.ts'
import { deleteSnapshot } from '../operations/delete-snapshot.ts'
import { revertVolume } from '../operations/revert-volume.ts'
import type { BlockQuotaRecords } from '../ports/block-storage.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import type { SnapshotLists } from '../ports/snapshots.ts'
import { cancelOperationOn } from './operation-cancel.ts'
import { administeredSnapshot, changeableSnapshot, invalidSnapshot } from './snapshot-access.ts'
import { changeableVolume, invalidVolume, isMigrating, notMigrating, visibleVolume } from './volume-access.ts'

export interface NewSnapshot {
  volumeId: string
  name: string | null
  description: string | null
  metadata: Record<string, string>
  /** Of a volume that is in use, too. */
  force: boolean
  requestId: string
}

/** Making and removing snapshots, and going back to one. */
export interface SnapshotChanges {
  /** Returns while the snapshot is still `creating`. Throws `overQuota` with Cinder's words. */
  create(principal: Principal, request: NewSnapshot): Promise<Snapshot>
  /** `force` is the administrator's, and takes a snapshot of any status. */
  remove(
    principal: Principal,
    snapshotId: string,
    options: { force: boolean; requestId: string },
  ): Promise<void>
  /** A real cancel of the operation that is under way; where none is, a repair of the record. */
  resetStatus(principal: Principal, snapshotId: string, status: SnapshotStatus): Promise<void>
  /** Only to the latest, and only of a volume that nobody has attached. */
  revert(
    principal: Principal,
    volumeId: string,
    request: { snapshotId: string | null; requestId: string },
  ): Promise<void>
}

export interface SnapshotChangeSources {
  volumes: VolumeRecords
  snapshots: SnapshotRecords
  snapshotLists: SnapshotLists
  quotas: Pick<BlockQuotaRecords, 'createSnapshot'>
  engine: OperationEngine
  clock: Clock
}

export const createSnapshotChanges = (sources: SnapshotChangeSources): SnapshotChanges => ({
  create: (principal, request) => create(sources, principal, request),
  remove: (principal, snapshotId, options) => remove(sources, principal, snapshotId, options),
  resetStatus: (principal, snapshotId, status) => resetStatus(sources, principal, snapshotId, status),
  revert: (principal, volumeId, request) => revert(sources, principal, volumeId, request),
})

async function create(
  sources: SnapshotChangeSources,
  principal: Principal,
  request: NewSnapshot,
): Promise<Snapshot> {
  const { volumes, snapshots, quotas, engine, clock } = sources
  const volume = await visibleVolume(volumes, principal, request.volumeId)
  enforce(principal, 'volume:create_snapshot', 'member', volume.projectId)
  const statuses = request.force ? snapshotableStatuses : (['available'] as const)
  if (!isSnapshotable(volume, statuses)) throw notSnapshotable(volume, request.force)
  const snapshot: Snapshot = {
    id: randomUUID(),
    volumeId: volume.id,
    projectId: volume.projectId,
    userId: principal.userId,
    name: request.name,
    description: request.description,
    sizeGib: volume.sizeGib,
    status: 'creating',
    metadata: request.metadata,
    flexvolId: volume.flexvolId as string,
    shareId: null,
    imageId: null,
    method: null,
    createdAt: clock.now().toISOString(),
    updatedAt: null,
  }
  if (!(await quotas.createSnapshot(snapshot, statuses))) {
    throw notSnapshotable(await volumes.get(volume.id), request.force)
  }
  try {
    await engine.start(createSnapshot, {
      snapshotId: snapshot.id,
      volumeId: volume.id,
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

const isSnapshotable = (volume: Volume, statuses: readonly Volume['status'][]): boolean =>
  volume.imageId !== null &&
  volume.flexvolId !== null &&
  statuses.includes(volume.status) &&
  !isMigrating(volume)

function notSnapshotable(volume: Volume, force: boolean): DomainError {
  if (isMigrating(volume)) return invalidVolume('Snapshot cannot be created while volume is migrating.')
  if (volume.status === 'maintenance') {
    return invalidVolume('The snapshot cannot be created when the volume is in maintenance mode.')
  }
  if (volume.imageId === null || volume.status === 'error') {
    return invalidVolume(
      `The snapshot cannot be created: volume ${volume.id} is in status ${volume.status}, and has no data.`,
    )
  }
  const hint = !force && snapshotableStatuses.includes(volume.status) ? ' With force it can be.' : ''
  return invalidVolume(
    `Snapshot cannot be created because volume ${volume.id} is not available, current volume status: ` +
      `${volume.status}.${hint}`,
  )
}

async function remove(
  sources: SnapshotChangeSources,
  principal: Principal,
  snapshotId: string,
  { force, requestId }: { force: boolean; requestId: string },
): Promise<void> {
  const { snapshots, snapshotLists, engine } = sources
  const snapshot = force
    ? await administeredSnapshot(
        snapshots,
        principal,
        snapshotId,
        'volume_extension:snapshot_admin_actions:force_delete',
      )
    : await changeableSnapshot(snapshots, principal, snapshotId, 'volume:delete_snapshot')
  if (!force && !deletableSnapshotStatuses.includes(snapshot.status)) throw notDeletable(snapshot)
  const holder = await engine.holderOf(`snapshot/${snapshotId}`)
  if (isInTheWay(holder)) {
    throw invalidSnapshot(
      `Snapshot ${snapshotId} cannot be deleted while operation ${holder.id} (${holder.kind}) is working on it.`,
    )
  }
  const claim = { status: 'deleting', updatedAt: sources.clock.now().toISOString() } as const
  if (!(await snapshots.updateIf(snapshotId, { status: [snapshot.status] }, claim))) {
    throw notDeletable(await snapshots.get(snapshotId))
  }
  try {
    const [user] = await snapshotLists.usersOf(snapshotId)
    if (user !== undefined) {
      throw invalidSnapshot(`Snapshot ${snapshotId} is in use: volume ${user} is being made of it.`)
    }
    await engine.start(deleteSnapshot, { snapshotId, projectId: snapshot.projectId, requestId })
  } catch (error) {
    await snapshots.updateIf(snapshotId, { status: ['deleting'] }, { status: snapshot.status })
    throw error
  }
}

const notDeletable = ({ status }: Snapshot): DomainError =>
  invalidSnapshot(
    `Snapshot status must be available or error or error_deleting, and must not be part of a group, to be ` +
      `deleted. It is ${status}.`,
  )

async function resetStatus(
  { snapshots, engine }: SnapshotChangeSources,
  principal: Principal,
  snapshotId: string,
  status: SnapshotStatus,
): Promise<void> {
  const policy = 'volume_extension:snapshot_admin_actions:reset_status'
  const snapshot = await administeredSnapshot(snapshots, principal, snapshotId, policy)
  // While an operation is under way the reset is its cancel, and nothing else: it leaves the status that is true.
  if ((await cancelOperationOn(engine, { type: 'snapshot', id: snapshotId })) !== 'none') return
  if (status === 'available' && snapshot.imageId === null) {
    throw invalidSnapshot(`Snapshot ${snapshotId} has no data: its creation failed. Delete it.`)
  }
  await snapshots.update(snapshotId, { status })
}

async function revert(
  sources: SnapshotChangeSources,
  principal: Principal,
  volumeId: string,
  request: { snapshotId: string | null; requestId: string },
): Promise<void> {
  const { volumes, snapshots, engine } = sources
  const volume = await changeableVolume(volumes, principal, volumeId, 'volume:revert_to_snapshot')
  const latest = (await snapshots.ofVolume(volumeId)).at(-1)
  if (latest === undefined) throw new DomainError('invalid', `Volume ${volumeId} has no snapshots.`)
  if (request.snapshotId !== latest.id) {
    throw new DomainError(
      'invalid',
      `Specified snapshot ${String(request.snapshotId)} is None or not the latest one of volume ${volumeId}. ` +
        `The latest one is ${latest.id}.`,
    )
  }
  const cannot = `Can't revert volume ${volumeId} to its latest snapshot ${latest.id}.`
  if (volume.sizeGib !== latest.sizeGib) {
    throw new DomainError(
      'invalid',
      `${cannot} The volume size must be equal to the snapshot size. It is ${volume.sizeGib} GiB, and the ` +
        `snapshot ${latest.sizeGib} GiB.`,
    )
  }
  const claimed = await volumes.updateIf(
    volumeId,
    { status: ['available'], migrationStatus: notMigrating },
    { status: 'reverting' },
  )
  if (!claimed) {
    const now = await volumes.get(volumeId)
    throw new DomainError(
      'conflict',
      `${cannot} Volume's status must be 'available'. It is ${isMigrating(now) ? 'migrating' : now.status}.`,
    )
  }
  try {
    const claim = { status: 'restoring', updatedAt: sources.clock.now().toISOString() } as const
    if (!(await snapshots.updateIf(latest.id, { status: ['available'] }, claim))) {
      throw new DomainError('conflict', `${cannot} Snapshot's status must be 'available'.`)
    }
    try {
      await engine.start(revertVolume, {
        volumeId,
        snapshotId: latest.id,
        projectId: volume.projectId,
        requestId: request.requestId,
        copyId: randomUUID(),
      })
    } catch (error) {
      await snapshots.updateIf(latest.id, { status: ['restoring'] }, { status: 'available' })
      throw error
    }
  } catch (error) {
    await volumes.updateIf(volumeId, { status: ['reverting'] }, { status: 'available' })
    throw error
  }
}
