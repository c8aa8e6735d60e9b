import type { Kysely, Selectable } from 'kysely'
import type { Database } from '../schema.ts'
import type { AttachmentTable } from '../tables/storage.ts'
import type { TombstoneTable } from '../tables/sweep.ts'
import { together } from '../transaction.ts'

type Db = Kysely<Database>

async function bury(db: Db, tombstones: TombstoneTable[]): Promise<void> {
  if (tombstones.length === 0) return
  await db
    .insertInto('tombstones')
    .values(tombstones)
    .onConflict((conflict) =>
      conflict.columns(['kind', 'id']).doUpdateSet((eb) => ({
        state: eb.ref('excluded.state'),
        operation_id: eb.ref('excluded.operation_id'),
        removed_at: eb.ref('excluded.removed_at'),
      })),
    )
    .execute()
}

/** Removes the copy's row and notes what it was. */
export const removeCopy = (db: Db, imageId: string): Promise<void> =>
  together(db, async (trx) => {
    const row = await trx
      .deleteFrom('copies')
      .where('image_id', '=', imageId)
      .returningAll()
      .executeTakeFirst()
    if (row === undefined) return
    const { volume_id, state, operation_id } = row
    const removed_at = new Date().toISOString()
    await bury(trx, [
      { kind: 'copy', id: imageId, volume_id, server_id: null, state, operation_id, removed_at },
    ])
  })

/** Removes the share's row, with its access rules, and notes that it was there. */
export const removeShare = (db: Db, shareId: string): Promise<void> =>
  together(db, async (trx) => {
    await trx.deleteFrom('share_access_rules').where('share_id', '=', shareId).execute()
    const row = await trx
      .deleteFrom('shares')
      .where('id', '=', shareId)
      .returning('status')
      .executeTakeFirst()
    if (row === undefined) return
    await buryShare(trx, shareId, row.status)
  })

/** Notes that a share, or a snapshot that could be mounted, was there: its file system is nobody's now. */
export const buryShare = (db: Db, id: string, state: string): Promise<void> =>
  bury(db, [
    {
      kind: 'share',
      id,
      volume_id: '',
      server_id: null,
      state,
      operation_id: null,
      removed_at: new Date().toISOString(),
    },
  ])

/** Notes that an attachment had a head of this id: another one has its place. */
export const buryHead = (
  db: Db,
  {
    head_id,
    volume_id,
    server_id,
    status,
  }: Pick<Selectable<AttachmentTable>, 'head_id' | 'volume_id' | 'server_id' | 'status'>,
): Promise<void> =>
  bury(db, [
    {
      kind: 'attachment',
      // Found by what its holder is called.
      id: head_id,
      volume_id,
      server_id,
      state: status,
      operation_id: null,
      removed_at: new Date().toISOString(),
    },
  ])

/** Removes attachments, one or all of a volume, and notes what they were. */
export const removeAttachments = (db: Db, by: { id: string } | { volumeId: string }): Promise<void> =>
  together(db, async (trx) => {
    const remove = trx.deleteFrom('attachments').returningAll()
    const rows = await (
      'id' in by ? remove.where('id', '=', by.id) : remove.where('volume_id', '=', by.volumeId)
    ).execute()
    for (const row of rows) await buryHead(trx, row)
  })
