import { randomUUID } from 'node:crypto'
import { isDomainError } from '@volant/contract'
import { messageEvents, messageLifetimeDays } from '../domain/volume-message.ts'
import type { Volume } from '../domain/volume.ts'
import { deleteVolume } from '../operations/delete-volume.ts'
import type { BlockQuotaRecords, VolumeLists, VolumeMessageRecords } from '../ports/block-storage.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { VolumeRecords } from '../ports/records.ts'
import type { VolumeRemover } from '../ports/volumes.ts'
import { recoverSnapshots, type SnapshotRecoverySources } from './snapshot-recovery.ts'

export interface RecoverySources extends SnapshotRecoverySources {
  volumes: VolumeRecords
  lists: Pick<VolumeLists, 'page' | 'leftRootDisks'>
  remover: VolumeRemover
  quotas: Pick<BlockQuotaRecords, 'finishExtend'>
  messages: Pick<VolumeMessageRecords, 'put'>
  engine: Pick<OperationEngine, 'holderOf' | 'start'>
  clock: Clock
}

/**
 * A request first claims its volume and then starts the operation. A crash between the two leaves a volume that
 * waits for nobody: here it gets its end. So does a claim that a request could not take back, because the database
 * took no writes then.
 *
 * To be called after the engine has taken over what is under way, and before the first request; and later now and
 * then, with the time for which a volume must have been left alone (`idleMs`), so that no request is overtaken.
 */
export async function recoverVolumes(sources: RecoverySources, idleMs = 0): Promise<{ recovered: string[] }> {
  const recovered: string[] = []
  for (const volume of await unsettled(sources)) {
    if (!isIdle(sources, volume, idleMs)) continue
    if ((await sources.engine.holderOf(`volume/${volume.id}`)) !== undefined) continue
    await settle(sources, volume)
    recovered.push(volume.id)
  }
  await removeLeftRootDisks(sources, idleMs)
  const migrations = await recoverMigrations(sources, idleMs)
  return { recovered: [...recovered, ...migrations, ...(await recoverSnapshots(sources, idleMs))] }
}

const isIdle = ({ clock }: RecoverySources, { updatedAt, createdAt }: Volume, idleMs: number): boolean =>
  clock.now().getTime() - Date.parse(updatedAt ?? createdAt) >= idleMs

/** Nobody else would ever: no user sees them. */
async function removeLeftRootDisks(sources: RecoverySources, idleMs: number): Promise<void> {
  for (const volume of await sources.lists.leftRootDisks()) {
    if (!isIdle(sources, volume, idleMs)) continue
    try {
      await sources.remover.removeVolume(volume.id)
    } catch (error) {
      // Part of a FlexVol's move, past its commit: the next time.
      if (!isDomainError(error) || error.code !== 'conflict') throw error
    }
  }
}

const migrating = ['starting', 'migrating', 'completing'] as const

/** A migration that was claimed and never recorded: nothing was done, and the volume is free again. */
async function recoverMigrations(sources: RecoverySources, idleMs: number): Promise<string[]> {
  const { lists, volumes, engine } = sources
  const recovered: string[] = []
  const claimed = await lists.page({
    filter: { migrationStatuses: [...migrating], withRootDisks: true },
    sort: [{ key: 'created_at', direction: 'asc' }],
    limit: 100_000,
    offset: 0,
  })
  for (const volume of claimed) {
    const { id, status } = volume
    if (!isIdle(sources, volume, idleMs)) continue
    if ((await engine.holderOf(`volume/${id}`)) !== undefined) continue
    // An operation that has just ended has set another migration status.
    const done = await volumes.updateIf(
      id,
      { status: [status], migrationStatus: migrating },
      { migrationStatus: 'error', ...(status === 'maintenance' ? { status: 'available' } : {}) },
    )
    if (done) recovered.push(id)
  }
  return recovered
}

const unsettled = ({ lists }: RecoverySources): Promise<Volume[]> =>
  lists.page({
    filter: {
      statuses: ['creating', 'downloading', 'deleting', 'extending', 'reverting'],
      withRootDisks: true,
    },
    sort: [{ key: 'created_at', direction: 'asc' }],
    limit: 100_000,
    offset: 0,
  })

async function settle(sources: RecoverySources, volume: Volume): Promise<void> {
  const now = sources.clock.now()
  const requestId = `req-${randomUUID()}`
  switch (volume.status) {
    case 'deleting': {
      const snapshots = await sources.snapshots.ofVolume(volume.id)
      await sources.engine.start(deleteVolume, {
        volumeId: volume.id,
        projectId: volume.projectId,
        requestId,
        snapshotIds: snapshots.filter(({ status }) => status === 'deleting').map(({ id }) => id),
      })
      return
    }
    case 'reverting':
      await sources.volumes.updateIf(volume.id, { status: ['reverting'] }, { status: 'available' })
      return
    case 'extending':
      await sources.quotas.finishExtend(volume.id, {
        status: volume.previousStatus ?? 'available',
        at: now.toISOString(),
      })
      return
    default:
      await sources.messages.put({
        id: randomUUID(),
        projectId: volume.projectId,
        requestId,
        resourceId: volume.id,
        level: 'ERROR',
        eventId: messageEvents.createFailed,
        text: 'The service was stopped before it could begin to create the volume. Delete it and create it again.',
        createdAt: now.toISOString(),
        expiresAt: new Date(now.getTime() + messageLifetimeDays * 86_400_000).toISOString(),
      })
      await sources.volumes.updateIf(volume.id, { status: [volume.status] }, { status: 'error' })
  }
}
