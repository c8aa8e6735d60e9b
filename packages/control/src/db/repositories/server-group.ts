import type { Kysely, Selectable } from 'kysely'
import type { ServerGroup } from '../../domain/server-group.ts'
import type { ServerGroupRecords, ServerGroupWithMembers } from '../../ports/server-groups.ts'
import type { Database } from '../schema.ts'
import type { ServerGroupTable } from '../tables/compute.ts'

const toGroup = (row: Selectable<ServerGroupTable>): ServerGroup => ({
  id: row.id,
  projectId: row.project_id,
  userId: row.user_id,
  name: row.name,
  policy: row.policy as ServerGroup['policy'],
  rules: JSON.parse(row.rules) as ServerGroup['rules'],
  createdAt: row.created_at,
})

export function serverGroupRecords(db: Kysely<Database>): ServerGroupRecords {
  /** The rows of members that are not deleted, the oldest server first. */
  const members = () =>
    db
      .selectFrom('server_group_members')
      .innerJoin('servers', 'servers.id', 'server_group_members.server_id')
      .where('servers.deleted_at', 'is', null)
      .orderBy('servers.number')

  async function withMembers(rows: Selectable<ServerGroupTable>[]): Promise<ServerGroupWithMembers[]> {
    if (rows.length === 0) return []
    const ids = rows.map(({ id }) => id)
    const found = await members()
      .select(['server_group_members.group_id', 'server_group_members.server_id'])
      .where('server_group_members.group_id', 'in', ids)
      .execute()
    const byGroup = Map.groupBy(found, ({ group_id }) => group_id)
    return rows.map((row) => ({
      ...toGroup(row),
      members: (byGroup.get(row.id) ?? []).map(({ server_id }) => server_id),
    }))
  }

  const groupOf = (serverId: string) =>
    db
      .selectFrom('server_group_members')
      .innerJoin('server_groups', 'server_groups.id', 'server_group_members.group_id')
      .selectAll('server_groups')
      .where('server_group_members.server_id', '=', serverId)
      .executeTakeFirst()

  return {
    async find(groupId) {
      const rows = await db.selectFrom('server_groups').selectAll().where('id', '=', groupId).execute()
      return (await withMembers(rows))[0]
    },
    async list({ projectId }, { limit, offset }) {
      let query = db.selectFrom('server_groups').selectAll()
      if (projectId !== undefined) query = query.where('project_id', '=', projectId)
      return withMembers(await query.orderBy('number').limit(limit).offset(offset).execute())
    },
    async create(group) {
      await db
        .insertInto('server_groups')
        .values({
          id: group.id,
          project_id: group.projectId,
          user_id: group.userId,
          name: group.name,
          policy: group.policy,
          rules: JSON.stringify(group.rules),
          created_at: group.createdAt,
        })
        .execute()
    },
    async remove(groupId) {
      const result = await db.deleteFrom('server_groups').where('id', '=', groupId).executeTakeFirst()
      return result.numDeletedRows > 0n
    },
    async countOfProject(projectId) {
      const row = await db
        .selectFrom('server_groups')
        .select((eb) => eb.fn.countAll<number>().as('count'))
        .where('project_id', '=', projectId)
        .executeTakeFirst()
      return Number(row?.count ?? 0)
    },
    ofServer: async (serverId) => (await groupOf(serverId))?.id,
    async placesFor(serverId) {
      const row = await groupOf(serverId)
      if (row === undefined) return undefined
      const group = toGroup(row)
      const others = await members()
        .leftJoin('server_migrations', (join) =>
          join
            .onRef('server_migrations.server_id', '=', 'servers.id')
            .on('server_migrations.reserves', 'is not', null),
        )
        .select(['servers.id', 'servers.host', 'server_migrations.reserves'])
        .where('server_group_members.group_id', '=', group.id)
        .where('servers.id', '!=', serverId)
        .execute()
      const byServer = Map.groupBy(others, ({ id }) => id)
      return {
        name: group.name,
        policy: group.policy,
        maxServerPerHost: group.rules.maxServerPerHost ?? 1,
        others: [...byServer].map(([id, rows]) => ({
          id,
          hosts: [...new Set(rows.flatMap(({ host, reserves }) => [host, reserves]))].filter(
            (host) => host !== null,
          ),
        })),
      }
    },
  }
}
