import type { Kysely } from 'kysely'
import { DomainError } from '@volant/contract'
import type { ShareGround } from '../../ports/shares.ts'
import { together } from '../transaction.ts'
import type { Database } from '../schema.ts'
import { attachmentRecords } from './attachment.ts'
import { copyRecords } from './copy.ts'
import { freeExportId } from './export-id.ts'
import { flexVolRecords } from './flexvol.ts'
import { removeAttachments, removeCopy } from './tombstone.ts'
import { volumeRow } from './volume.ts'

export const shareGround = (db: Kysely<Database>): ShareGround => ({
  lay: (shareId, { flexvol, volume, copy, attachment }) =>
    together(db, async (trx) => {
      const share = await trx
        .selectFrom('shares')
        .select(['cluster', 'volume_id'])
        .where('id', '=', shareId)
        .executeTakeFirst()
      if (share === undefined) throw new DomainError('notFound', `Share ${shareId} could not be found.`)
      if (share.volume_id !== null) return
      await flexVolRecords(trx).create(flexvol)
      await trx.insertInto('volumes').values(volumeRow(volume)).execute()
      await copyRecords(trx).create(copy)
      await attachmentRecords(trx).create(attachment)
      await trx
        .updateTable('shares')
        .set({
          flexvol_id: flexvol.id,
          volume_id: volume.id,
          export_id: await freeExportId(trx, share.cluster),
        })
        .where('id', '=', shareId)
        .execute()
    }),
  complete: (shareId, imageId, at) =>
    together(db, async (trx) => {
      await copyRecords(trx).update(imageId, { state: 'live', reservedBytes: 0 })
      await trx
        .updateTable('volumes')
        .set({ image_id: imageId, status: 'in-use', updated_at: at })
        .where('share_id', '=', shareId)
        .execute()
      await trx
        .updateTable('attachments')
        .set({ status: 'attached', attached_at: at })
        .where('share_id', '=', shareId)
        .execute()
    }),
  clear: (shareId) =>
    together(db, async (trx) => {
      const kept = await trx.selectFrom('snapshots').select('id').where('share_id', '=', shareId).execute()
      if (kept.length > 0) {
        throw new DomainError('conflict', `Share ${shareId} has ${kept.length} snapshot(s).`)
      }
      const volumes = await trx.selectFrom('volumes').select('id').where('share_id', '=', shareId).execute()
      for (const { id } of volumes) {
        for (const { imageId } of await copyRecords(trx).ofVolume(id)) await removeCopy(trx, imageId)
        await removeAttachments(trx, { volumeId: id })
      }
      await trx.deleteFrom('volumes').where('share_id', '=', shareId).execute()
      await trx.deleteFrom('flexvols').where('share_id', '=', shareId).execute()
      await trx
        .updateTable('shares')
        .set({ flexvol_id: null, volume_id: null, export_id: null })
        .where('id', '=', shareId)
        .execute()
    }),
})
