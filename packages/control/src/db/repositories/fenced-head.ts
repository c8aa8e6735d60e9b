import type { Kysely } from 'kysely'
import type { FencedHeadRecords } from '../../ports/fenced-heads.ts'
import type { Database } from '../schema.ts'

export function fencedHeadRecords(db: Kysely<Database>): FencedHeadRecords {
  return {
    async add({ headId, volumeId, serverId, host, fencedAt }) {
      await db
        .insertInto('fenced_heads')
        .values({
          head_id: headId,
          volume_id: volumeId,
          server_id: serverId,
          host,
          fenced_at: fencedAt,
        })
        .onConflict((conflict) => conflict.column('head_id').doUpdateSet({ fenced_at: fencedAt }))
        .execute()
    },
    async isFenced(headId) {
      const row = await db
        .selectFrom('fenced_heads')
        .select('head_id')
        .where('head_id', '=', headId)
        .executeTakeFirst()
      return row !== undefined
    },
    async formerHeadsOf(serverId) {
      const rows = await db
        .selectFrom('tombstones')
        .select(['id', 'volume_id'])
        .where('kind', '=', 'attachment')
        .where('server_id', '=', serverId)
        .where('id', 'not in', (eb) => eb.selectFrom('attachments').select('head_id'))
        .execute()
      return rows.map((row) => ({ headId: row.id, volumeId: row.volume_id }))
    },
    async ofHost(host) {
      const rows = await db.selectFrom('fenced_heads').selectAll().where('host', '=', host).execute()
      return rows.map((row) => ({
        headId: row.head_id,
        volumeId: row.volume_id,
        serverId: row.server_id,
        host: row.host,
        fencedAt: row.fenced_at,
      }))
    },
    async remove({ headId, fencedAt }) {
      const result = await db
        .deleteFrom('fenced_heads')
        .where('head_id', '=', headId)
        .where('fenced_at', '=', fencedAt)
        .executeTakeFirst()
      return result.numDeletedRows > 0n
    },
  }
}
