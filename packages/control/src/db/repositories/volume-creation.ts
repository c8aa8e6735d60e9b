import type { Kysely } from 'kysely'
import type { VolumeCreation } from '../../ports/block-storage.ts'
import type { Database } from '../schema.ts'
import { copyRecords } from './copy.ts'

export const volumeCreation = (db: Kysely<Database>): VolumeCreation => ({
  begin: (copy, status) =>
    db.transaction().execute(async (trx) => {
      await copyRecords(trx).create(copy)
      if (status === 'creating') return
      await trx
        .updateTable('volumes')
        .set({ status })
        .where('id', '=', copy.volumeId)
        .where('status', '=', 'creating')
        .execute()
    }),
  complete: (birth) =>
    db.transaction().execute(async (trx) => {
      await copyRecords(trx).update(birth.imageId, { state: 'live', reservedBytes: 0 })
      await trx
        .updateTable('volumes')
        .set({
          status: 'available',
          image_id: birth.imageId,
          flexvol_id: birth.flexvolId,
          bootable: birth.bootable ? 1 : 0,
          image_metadata: JSON.stringify(birth.imageMetadata),
          updated_at: birth.at,
        })
        .where('id', '=', birth.volumeId)
        .where('status', 'in', ['creating', 'downloading'])
        .execute()
      await trx.deleteFrom('volume_messages').where('id', '=', birth.messageId).execute()
    }),
  abandon: (volumeId, imageId, at) =>
    db.transaction().execute(async (trx) => {
      await copyRecords(trx).remove(imageId)
      await trx
        .updateTable('volumes')
        .set({ status: 'error', updated_at: at })
        .where('id', '=', volumeId)
        .where('status', 'in', ['creating', 'downloading'])
        .execute()
    }),
})
