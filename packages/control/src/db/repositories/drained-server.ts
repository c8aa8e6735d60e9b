import type { Kysely, Selectable } from 'kysely'
import type { DrainedServer, DrainedServerRecords } from '../../ports/server-migrations.ts'
import { flag, isSet } from '../columns.ts'
import type { Database } from '../schema.ts'
import type { DrainedServerTable } from '../tables/compute.ts'

const toDrained = (row: Selectable<DrainedServerTable>): DrainedServer => ({
  serverId: row.server_id,
  home: row.home,
  how: row.how as DrainedServer['how'],
  wasRunning: isSet(row.was_running),
  broughtTo: row.brought_to,
  operationId: row.operation_id,
  createdAt: row.created_at,
})

export function drainedServerRecords(db: Kysely<Database>): DrainedServerRecords {
  const select = () => db.selectFrom('drained_servers').selectAll()
  return {
    async put({ serverId, home, how, wasRunning, broughtTo, operationId, createdAt }) {
      const fields = {
        home,
        how,
        was_running: flag(wasRunning),
        brought_to: broughtTo,
        operation_id: operationId,
        created_at: createdAt,
      }
      await db
        .insertInto('drained_servers')
        .values({ server_id: serverId, ...fields })
        .onConflict((conflict) => conflict.column('server_id').doUpdateSet(fields))
        .execute()
    },
    async ofHome(home) {
      const rows = await select()
        .where('home', '=', home)
        .orderBy('created_at')
        .orderBy('server_id')
        .execute()
      return rows.map(toDrained)
    },
    async find(serverId) {
      const row = await select().where('server_id', '=', serverId).executeTakeFirst()
      return row && toDrained(row)
    },
    async remove(serverId) {
      await db.deleteFrom('drained_servers').where('server_id', '=', serverId).execute()
    },
  }
}
