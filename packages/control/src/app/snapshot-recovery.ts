import { randomUUID } from 'node:crypto'
import { messageEvents, messageLifetimeDays } from '../domain/volume-message.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import { deleteSnapshot } from '../operations/delete-snapshot.ts'
import type { VolumeMessageRecords } from '../ports/block-storage.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import type { SnapshotLists } from '../ports/snapshots.ts'

export interface SnapshotRecoverySources {
  volumes: Pick<VolumeRecords, 'find'>
  snapshots: SnapshotRecords
  snapshotLists: Pick<SnapshotLists, 'page'>
  messages: Pick<VolumeMessageRecords, 'put'>
  engine: Pick<OperationEngine, 'holderOf' | 'start'>
  clock: Clock
}

/** Snapshots that were claimed and whose operation was never recorded get their end: see `recoverVolumes`. */
export async function recoverSnapshots(sources: SnapshotRecoverySources, idleMs: number): Promise<string[]> {
  const { snapshotLists, engine, clock } = sources
  const recovered: string[] = []
  const claimed = await snapshotLists.page({
    filter: { statuses: ['creating', 'deleting', 'restoring'] },
    sort: [{ key: 'created_at', direction: 'asc' }],
    limit: 100_000,
    offset: 0,
  })
  for (const snapshot of claimed) {
    const since = Date.parse(snapshot.updatedAt ?? snapshot.createdAt)
    if (clock.now().getTime() - since < idleMs) continue
    if ((await engine.holderOf(`snapshot/${snapshot.id}`)) !== undefined) continue
    if (await settle(sources, snapshot)) recovered.push(snapshot.id)
  }
  return recovered
}

async function settle(sources: SnapshotRecoverySources, snapshot: Snapshot): Promise<boolean> {
  const { id, projectId } = snapshot
  const requestId = `req-${randomUUID()}`
  switch (snapshot.status) {
    case 'deleting':
      // One that goes with its volume goes by the volume's deletion.
      if ((await sources.volumes.find(snapshot.volumeId))?.status === 'deleting') return false
      await sources.engine.start(deleteSnapshot, { snapshotId: id, projectId, requestId })
      return true
    case 'restoring':
      return sources.snapshots.updateIf(id, { status: ['restoring'] }, { status: 'available' })
    default: {
      const now = sources.clock.now()
      await sources.messages.put({
        id: randomUUID(),
        projectId,
        requestId,
        resourceId: id,
        level: 'ERROR',
        eventId: messageEvents.snapshotFailed,
        text: 'The service was stopped before it could begin to create the snapshot. Delete it and create it again.',
        createdAt: now.toISOString(),
        expiresAt: new Date(now.getTime() + messageLifetimeDays * 86_400_000).toISOString(),
      })
      return sources.snapshots.updateIf(id, { status: ['creating'] }, { status: 'error' })
    }
  }
}
