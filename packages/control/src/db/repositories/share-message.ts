import type { Kysely, Selectable } from 'kysely'
import type { ShareMessage } from '../../domain/share-message.ts'
import type { ShareMessageRecords } from '../../ports/share-records.ts'
import type { Database } from '../schema.ts'
import type { ShareMessageTable } from '../tables/share.ts'

export const shareMessageRecords = (db: Kysely<Database>): ShareMessageRecords => ({
  async put(message) {
    const { id, ...columns } = rowOf(message)
    await db
      .insertInto('share_messages')
      .values({ id, ...columns })
      .onConflict((c) => c.column('id').doUpdateSet(columns))
      .execute()
  },
  async find(id) {
    const row = await db.selectFrom('share_messages').selectAll().where('id', '=', id).executeTakeFirst()
    return row === undefined ? undefined : messageOf(row)
  },
  async list(options) {
    let query = db.selectFrom('share_messages').selectAll().where('expires_at', '>', options.now)
    const equal = {
      project_id: options.projectId,
      resource_type: options.resourceType,
      resource_id: options.resourceId,
      action_id: options.actionId,
      detail_id: options.detailId,
      request_id: options.requestId,
    }
    for (const [column, value] of Object.entries(equal)) {
      if (value !== undefined) query = query.where(column as keyof typeof equal, '=', value)
    }
    if (options.createdSince !== undefined) query = query.where('created_at', '>=', options.createdSince)
    if (options.createdBefore !== undefined) query = query.where('created_at', '<=', options.createdBefore)
    const rows = await query
      .orderBy('created_at', 'desc')
      .orderBy('id', 'desc')
      .limit(options.limit)
      .offset(options.offset)
      .execute()
    return rows.map(messageOf)
  },
  async remove(id) {
    await db.deleteFrom('share_messages').where('id', '=', id).execute()
  },
  async removeExpired(now) {
    await db.deleteFrom('share_messages').where('expires_at', '<=', now).execute()
  },
})

const messageOf = (row: Selectable<ShareMessageTable>): ShareMessage => ({
  id: row.id,
  projectId: row.project_id,
  requestId: row.request_id,
  resourceType: row.resource_type as ShareMessage['resourceType'],
  resourceId: row.resource_id,
  actionId: row.action_id,
  detailId: row.detail_id,
  text: row.user_message,
  createdAt: row.created_at,
  expiresAt: row.expires_at,
})

const rowOf = (message: ShareMessage): ShareMessageTable => ({
  id: message.id,
  project_id: message.projectId,
  request_id: message.requestId,
  resource_type: message.resourceType,
  resource_id: message.resourceId,
  action_id: message.actionId,
  detail_id: message.detailId,
  user_message: message.text,
  created_at: message.createdAt,
  expires_at: message.expiresAt,
})
