import type { Kysely } from 'kysely'
import type { Attachment } from '../../domain/volume.ts'
import type { VolumeClaims } from '../../ports/servers.ts'
import type { Database } from '../schema.ts'
import { toAttachmentColumns } from './attachment.ts'

/** Of a volume that is not being moved. */
const notMigrating = ['success', 'error']

export function volumeClaims(db: Kysely<Database>): VolumeClaims {
  const change = (
    volumeId: string,
    from: string,
    to: string,
    then: (trx: Kysely<Database>) => Promise<unknown>,
  ): Promise<boolean> =>
    db.transaction().execute(async (trx) => {
      const result = await trx
        .updateTable('volumes')
        .set({ status: to, updated_at: new Date().toISOString() })
        .where('id', '=', volumeId)
        .where('status', '=', from)
        .where((eb) =>
          eb.or([eb('migration_status', 'is', null), eb('migration_status', 'in', notMigrating)]),
        )
        .executeTakeFirst()
      if (result.numUpdatedRows === 0n) return false
      await then(trx)
      return true
    })
  return {
    attach: (attachment: Attachment) =>
      change(attachment.volumeId, 'available', 'attaching', (trx) =>
        trx.insertInto('attachments').values(toAttachmentColumns(attachment)).execute(),
      ),
    detach: ({ id, volumeId }: Attachment) =>
      change(volumeId, 'in-use', 'detaching', (trx) =>
        trx.updateTable('attachments').set({ status: 'detaching' }).where('id', '=', id).execute(),
      ),
  }
}
