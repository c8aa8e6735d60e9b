import { DomainError } from '@volant/contract'
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
      change(attachment.volumeId, 'available', 'attaching', async (trx) => {
        await requireStill(trx, attachment)
        await trx.insertInto('attachments').values(toAttachmentColumns(attachment)).execute()
      }),
    detach: ({ id, volumeId }: Attachment) =>
      change(volumeId, 'in-use', 'detaching', (trx) =>
        trx.updateTable('attachments').set({ status: 'detaching' }).where('id', '=', id).execute(),
      ),
  }
}

/** The server has not begun to leave the host since the request looked at it; one that is being made has none yet. */
async function requireStill(
  trx: Kysely<Database>,
  { serverId, host }: Pick<Attachment, 'serverId' | 'host'>,
): Promise<void> {
  if (serverId === null || host === null) return
  const server = await trx
    .selectFrom('servers')
    .select(['host', 'task_state'])
    .where('id', '=', serverId)
    .executeTakeFirst()
  if (server === undefined || (server.host === host && server.task_state === null)) return
  throw new DomainError(
    'conflict',
    `Cannot 'attach_volume' instance ${serverId}: another request has just changed its state.`,
  )
}
