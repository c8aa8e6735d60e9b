import type { Kysely, Selectable } from 'kysely'
import type { ShownSnapshot } from '../../domain/share.ts'
import type { ShownSnapshotRecords } from '../../ports/shares.ts'
import type { Database } from '../schema.ts'
import type { ShownSnapshotTable } from '../tables/share.ts'
import { together } from '../transaction.ts'
import { attachmentRecords } from './attachment.ts'
import { copyRecords } from './copy.ts'
import { freeExportId } from './export-id.ts'
import { buryShare, removeAttachments, removeCopy } from './tombstone.ts'
import { volumeRow } from './volume.ts'

const toShown = (row: Selectable<ShownSnapshotTable>): ShownSnapshot => ({
  snapshotId: row.snapshot_id,
  shareId: row.share_id,
  cluster: row.cluster,
  volumeId: row.volume_id,
  exportId: row.export_id,
  createdAt: row.created_at,
})

export const shownSnapshotRecords = (db: Kysely<Database>): ShownSnapshotRecords => {
  const rowOf = (trx: Kysely<Database>, snapshotId: string) =>
    trx.selectFrom('shown_snapshots').selectAll().where('snapshot_id', '=', snapshotId).executeTakeFirst()
  return {
    async find(snapshotId) {
      const row = await rowOf(db, snapshotId)
      return row && toShown(row)
    },
    async list() {
      const rows = await db
        .selectFrom('shown_snapshots')
        .selectAll()
        .orderBy('created_at')
        .orderBy('snapshot_id')
        .execute()
      return rows.map(toShown)
    },
    lay: (shown, { volume, copy, attachment }) =>
      together(db, async (trx) => {
        if ((await rowOf(trx, shown.snapshotId)) !== undefined) return
        await trx.insertInto('volumes').values(volumeRow(volume)).execute()
        await copyRecords(trx).create(copy)
        await attachmentRecords(trx).create(attachment)
        await trx
          .insertInto('shown_snapshots')
          .values({
            snapshot_id: shown.snapshotId,
            share_id: shown.shareId,
            cluster: shown.cluster,
            volume_id: shown.volumeId,
            export_id: await freeExportId(trx, shown.cluster),
            created_at: shown.createdAt,
          })
          .execute()
      }),
    complete: (snapshotId, imageId, at) =>
      together(db, async (trx) => {
        const shown = await rowOf(trx, snapshotId)
        if (shown === undefined) return
        await copyRecords(trx).update(imageId, { state: 'live', reservedBytes: 0 })
        await trx
          .updateTable('volumes')
          .set({ image_id: imageId, status: 'in-use', updated_at: at })
          .where('id', '=', shown.volume_id)
          .execute()
        await trx
          .updateTable('attachments')
          .set({ status: 'attached', attached_at: at })
          .where('volume_id', '=', shown.volume_id)
          .execute()
      }),
    clear: (snapshotId) =>
      together(db, async (trx) => {
        const shown = await rowOf(trx, snapshotId)
        if (shown === undefined) return
        for (const { imageId } of await copyRecords(trx).ofVolume(shown.volume_id)) {
          await removeCopy(trx, imageId)
        }
        await removeAttachments(trx, { volumeId: shown.volume_id })
        await trx.deleteFrom('shown_snapshots').where('snapshot_id', '=', snapshotId).execute()
        await trx.deleteFrom('volumes').where('id', '=', shown.volume_id).execute()
        await buryShare(trx, snapshotId, 'shown')
      }),
  }
}
