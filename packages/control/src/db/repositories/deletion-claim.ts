import type { Kysely } from 'kysely'
import { deletableSnapshotStatuses, type Snapshot } from '../../domain/snapshot.ts'
import type { DeletionClaims } from '../../ports/block-storage.ts'
import type { Clock } from '../../ports/clock.ts'
import type { Database } from '../schema.ts'
import { snapshotLists } from './snapshot-list.ts'
import { snapshotRecords } from './snapshot.ts'
import { volumeRecords } from './volume.ts'

export const deletionClaims = (db: Kysely<Database>, clock: Clock): DeletionClaims => ({
  claim: (volume, { cascade }) =>
    db.transaction().execute(async (trx) => {
      const snapshots = await snapshotRecords(trx).ofVolume(volume.id)
      if (snapshots.length > 0 && !cascade) return { outcome: 'has-snapshots', count: snapshots.length }
      const busy = await firstBusy(trx, snapshots)
      if (busy !== undefined) return { outcome: 'snapshot-busy', ...busy }
      const claimed = await volumeRecords(trx, clock).updateIf(
        volume.id,
        { status: [volume.status], migrationStatus: [null, 'success', 'error'] },
        { status: 'deleting' },
      )
      if (!claimed) return { outcome: 'changed' }
      const updatedAt = clock.now().toISOString()
      for (const { id } of snapshots) {
        await snapshotRecords(trx).update(id, { status: 'deleting', updatedAt })
      }
      return { outcome: 'claimed', snapshots: snapshots.map(({ id, status }) => ({ id, status })) }
    }),
  release: (volume, snapshots) =>
    db.transaction().execute(async (trx) => {
      await volumeRecords(trx, clock).updateIf(volume.id, { status: ['deleting'] }, { status: volume.status })
      for (const { id, status } of snapshots) {
        await snapshotRecords(trx).updateIf(id, { status: ['deleting'] }, { status })
      }
    }),
})

async function firstBusy(
  db: Kysely<Database>,
  snapshots: readonly Snapshot[],
): Promise<{ snapshotId: string; reason: string } | undefined> {
  for (const { id: snapshotId, status } of snapshots) {
    if (!deletableSnapshotStatuses.includes(status)) return { snapshotId, reason: `it is ${status}` }
    const [user] = await snapshotLists(db).usersOf(snapshotId)
    if (user !== undefined) return { snapshotId, reason: `volume ${user} is being made of it` }
  }
  return undefined
}
