import type { Kysely } from 'kysely'
import type { SnapshotCreation } from '../../ports/snapshots.ts'
import type { Database } from '../schema.ts'
import { copyRecords } from './copy.ts'

export const snapshotCreation = (db: Kysely<Database>): SnapshotCreation => ({
  begin: (copy) => copyRecords(db).create(copy),
  complete: (birth) =>
    db.transaction().execute(async (trx) => {
      await copyRecords(trx).update(birth.imageId, { state: 'live', reservedBytes: 0 })
      await trx
        .updateTable('snapshots')
        .set((eb) => ({
          status: 'available',
          image_id: birth.imageId,
          method: birth.method,
          flexvol_id: eb
            .selectFrom('copies')
            .select('flexvol_id')
            .where('image_id', '=', birth.imageId)
            .$asScalar()
            .$notNull(),
          updated_at: birth.at,
        }))
        .where('id', '=', birth.snapshotId)
        .where('status', '=', 'creating')
        .execute()
      await trx.deleteFrom('volume_messages').where('id', '=', birth.messageId).execute()
    }),
  abandon: (snapshotId, imageId, at) =>
    db.transaction().execute(async (trx) => {
      await copyRecords(trx).remove(imageId)
      await trx
        .updateTable('snapshots')
        .set({ status: 'error', updated_at: at })
        .where('id', '=', snapshotId)
        .where('status', '=', 'creating')
        .execute()
    }),
})
