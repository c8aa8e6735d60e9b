import type { Kysely, Selectable } from 'kysely'
import type { InstanceAction, InstanceActionRecords } from '../../ports/servers.ts'
import type { Database } from '../schema.ts'
import type { InstanceActionTable } from '../tables/compute.ts'

const toAction = (row: Selectable<InstanceActionTable>): InstanceAction => ({
  requestId: row.request_id,
  serverId: row.server_id,
  action: row.action,
  userId: row.user_id,
  projectId: row.project_id,
  operationId: row.operation_id,
  startedAt: row.started_at,
  finishedAt: row.finished_at,
  result: row.result as InstanceAction['result'],
  message: row.message,
  host: row.host,
})

export function instanceActionRecords(db: Kysely<Database>): InstanceActionRecords {
  const select = () => db.selectFrom('instance_actions').selectAll()
  return {
    async create(action) {
      await db
        .insertInto('instance_actions')
        .values({
          request_id: action.requestId,
          server_id: action.serverId,
          action: action.action,
          user_id: action.userId,
          project_id: action.projectId,
          operation_id: action.operationId,
          started_at: action.startedAt,
          finished_at: action.finishedAt,
          result: action.result,
          message: action.message,
          host: action.host,
        })
        .onConflict((conflict) => conflict.columns(['server_id', 'request_id']).doNothing())
        .execute()
    },
    async ofServer(serverId) {
      const rows = await select()
        .where('server_id', '=', serverId)
        .orderBy('started_at', 'desc')
        .orderBy('request_id', 'desc')
        .execute()
      return rows.map(toAction)
    },
    async find(serverId, requestId) {
      const row = await select()
        .where('server_id', '=', serverId)
        .where('request_id', '=', requestId)
        .executeTakeFirst()
      return row && toAction(row)
    },
    async finish({ serverId, requestId }, end) {
      await db
        .updateTable('instance_actions')
        .set({ finished_at: end.finishedAt, result: end.result, message: end.message })
        .where('server_id', '=', serverId)
        .where('request_id', '=', requestId)
        .where('finished_at', 'is', null)
        .execute()
    },
    async unfinished() {
      const rows = await select()
        .where('finished_at', 'is', null)
        .where('operation_id', 'is not', null)
        .execute()
      return rows.map(toAction)
    },
  }
}
