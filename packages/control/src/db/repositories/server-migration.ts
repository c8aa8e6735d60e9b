import type { Kysely, Selectable, Updateable } from 'kysely'
import { DomainError } from '@volant/contract'
import type { ServerMigration } from '../../domain/server-migration.ts'
import type { ServerMigrationFilter, ServerMigrationRecords } from '../../ports/server-migrations.ts'
import { defined, flag, isSet, parseObject } from '../columns.ts'
import type { Database } from '../schema.ts'
import type { ServerMigrationTable } from '../tables/compute.ts'

const toMigration = (row: Selectable<ServerMigrationTable>): ServerMigration => ({
  id: row.id,
  number: row.number,
  serverId: row.server_id,
  kind: row.kind as ServerMigration['kind'],
  status: row.status as ServerMigration['status'],
  sourceHost: row.source_host,
  destHost: row.dest_host,
  oldFlavor: JSON.parse(row.old_flavor) as ServerMigration['oldFlavor'],
  newFlavor: JSON.parse(row.new_flavor) as ServerMigration['newFlavor'],
  heads: parseObject<string>(row.heads),
  wasRunning: isSet(row.was_running),
  vcpus: row.vcpus,
  memoryMib: row.memory_mib,
  reserves: row.reserves,
  operationId: row.operation_id,
  userId: row.user_id,
  projectId: row.project_id,
  memoryTotal: row.memory_total,
  memoryProcessed: row.memory_processed,
  memoryRemaining: row.memory_remaining,
  downtimeMs: row.downtime_ms,
  forced: isSet(row.forced),
  message: row.message,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

const json = (value: unknown): string | undefined => (value === undefined ? undefined : JSON.stringify(value))

export const toMigrationColumns = (fields: Partial<ServerMigration>): Updateable<ServerMigrationTable> =>
  defined({
    id: fields.id,
    server_id: fields.serverId,
    kind: fields.kind,
    status: fields.status,
    source_host: fields.sourceHost,
    dest_host: fields.destHost,
    old_flavor: json(fields.oldFlavor),
    new_flavor: json(fields.newFlavor),
    heads: json(fields.heads),
    was_running: fields.wasRunning === undefined ? undefined : flag(fields.wasRunning),
    vcpus: fields.vcpus,
    memory_mib: fields.memoryMib,
    reserves: fields.reserves,
    operation_id: fields.operationId,
    user_id: fields.userId,
    project_id: fields.projectId,
    memory_total: fields.memoryTotal,
    memory_processed: fields.memoryProcessed,
    memory_remaining: fields.memoryRemaining,
    downtime_ms: fields.downtimeMs,
    forced: fields.forced === undefined ? undefined : flag(fields.forced),
    message: fields.message,
    created_at: fields.createdAt,
    updated_at: fields.updatedAt,
  })

export function serverMigrationRecords(db: Kysely<Database>): ServerMigrationRecords {
  const select = () => db.selectFrom('server_migrations').selectAll()
  const find = async (id: string): Promise<ServerMigration | undefined> => {
    const row = await select().where('id', '=', id).executeTakeFirst()
    return row && toMigration(row)
  }
  const get = async (id: string): Promise<ServerMigration> => {
    const found = await find(id)
    if (found === undefined) throw new DomainError('notFound', `Migration ${id} could not be found.`)
    return found
  }
  const touched = (fields: Partial<ServerMigration>): Updateable<ServerMigrationTable> => ({
    updated_at: new Date().toISOString(),
    ...toMigrationColumns(fields),
  })
  return {
    find,
    get,
    async findByNumber(serverId, number) {
      const row = await select()
        .where('server_id', '=', serverId)
        .where('number', '=', number)
        .executeTakeFirst()
      return row && toMigration(row)
    },
    list: (filter, page) => list(db, filter, page),
    async create(migration) {
      await db
        .insertInto('server_migrations')
        .values(
          toMigrationColumns({ wasRunning: true, forced: false, ...migration }) as ServerMigrationTable & {
            number: never
          },
        )
        .onConflict((conflict) => conflict.column('id').doNothing())
        .execute()
      return get(migration.id)
    },
    async update(id, fields) {
      await db.updateTable('server_migrations').set(touched(fields)).where('id', '=', id).execute()
    },
    async updateIf(id, statuses, fields) {
      const result = await db
        .updateTable('server_migrations')
        .set(touched(fields))
        .where('id', '=', id)
        .where('status', 'in', [...statuses])
        .executeTakeFirst()
      return result.numUpdatedRows > 0n
    },
    async reservedByHost() {
      const rows = await db
        .selectFrom('server_migrations')
        .select((eb) => [
          'reserves',
          eb.fn.sum<number>('vcpus').as('vcpus'),
          eb.fn.sum<number>('memory_mib').as('memory_mib'),
        ])
        .where('reserves', 'is not', null)
        .groupBy('reserves')
        .execute()
      return new Map(
        rows.map((row) => [
          row.reserves as string,
          { vcpus: Number(row.vcpus), memoryMib: Number(row.memory_mib) },
        ]),
      )
    },
  }
}

async function list(
  db: Kysely<Database>,
  filter: ServerMigrationFilter,
  page?: { limit: number; marker?: string },
): Promise<ServerMigration[]> {
  const { kinds, statuses, host } = filter
  let query = db.selectFrom('server_migrations').selectAll()
  if (filter.serverId !== undefined) query = query.where('server_id', '=', filter.serverId)
  if (kinds !== undefined) query = query.where('kind', 'in', [...kinds])
  if (statuses !== undefined) query = query.where('status', 'in', [...statuses])
  if (host !== undefined) {
    query = query.where((eb) => eb.or([eb('source_host', '=', host), eb('dest_host', '=', host)]))
  }
  if (filter.sourceHost !== undefined) query = query.where('source_host', '=', filter.sourceHost)
  if (filter.userId !== undefined) query = query.where('user_id', '=', filter.userId)
  if (filter.projectId !== undefined) query = query.where('project_id', '=', filter.projectId)
  if (filter.changedSince !== undefined) query = query.where('updated_at', '>=', filter.changedSince)
  if (filter.changedBefore !== undefined) query = query.where('updated_at', '<=', filter.changedBefore)
  if (page?.marker !== undefined) {
    const marker = await db
      .selectFrom('server_migrations')
      .select('number')
      .where('id', '=', page.marker)
      .executeTakeFirst()
    if (marker === undefined) throw new DomainError('invalid', `Marker ${page.marker} could not be found.`)
    query = query.where('number', '<', marker.number)
  }
  if (page !== undefined) query = query.limit(page.limit)
  return (await query.orderBy('number', 'desc').execute()).map(toMigration)
}
