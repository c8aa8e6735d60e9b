import type { Kysely, Selectable } from 'kysely'
import type { VolumeMessage } from '../../domain/volume-message.ts'
import type { VolumeMessageRecords } from '../../ports/block-storage.ts'
import type { Database } from '../schema.ts'
import type { VolumeMessageTable } from '../tables/block-storage.ts'

export const volumeMessageRecords = (db: Kysely<Database>): VolumeMessageRecords => ({
  async put(message) {
    const { id, ...columns } = rowOf(message)
    // A root disk's failure is told by its server, which reads it there.
    const { numUpdatedRows } = await db
      .updateTable('volumes')
      .set({ metadata: JSON.stringify({ failure: message.text }) })
      .where('id', '=', message.resourceId)
      .where('root_of', 'is not', null)
      .executeTakeFirst()
    if (numUpdatedRows > 0n) return
    await db
      .insertInto('volume_messages')
      .values({ id, ...columns })
      .onConflict((c) => c.column('id').doUpdateSet(columns))
      .execute()
  },
  async find(id) {
    const row = await db.selectFrom('volume_messages').selectAll().where('id', '=', id).executeTakeFirst()
    return row === undefined ? undefined : messageOf(row)
  },
  async list({ projectId, limit, offset, now }) {
    let query = db.selectFrom('volume_messages').selectAll().where('expires_at', '>', now)
    if (projectId !== undefined) query = query.where('project_id', '=', projectId)
    const rows = await query
      .orderBy('created_at', 'desc')
      .orderBy('id', 'desc')
      .limit(limit)
      .offset(offset)
      .execute()
    return rows.map(messageOf)
  },
  async remove(id) {
    await db.deleteFrom('volume_messages').where('id', '=', id).execute()
  },
  async removeExpired(now) {
    await db.deleteFrom('volume_messages').where('expires_at', '<=', now).execute()
  },
})

const messageOf = (row: Selectable<VolumeMessageTable>): VolumeMessage => ({
  id: row.id,
  projectId: row.project_id,
  requestId: row.request_id,
  resourceId: row.volume_id,
  level: 'ERROR',
  eventId: row.event_id,
  text: row.text,
  createdAt: row.created_at,
  expiresAt: row.expires_at,
})

const rowOf = (message: VolumeMessage): VolumeMessageTable => ({
  id: message.id,
  project_id: message.projectId,
  request_id: message.requestId,
  volume_id: message.resourceId,
  level: message.level,
  event_id: message.eventId,
  text: message.text,
  created_at: message.createdAt,
  expires_at: message.expiresAt,
})
