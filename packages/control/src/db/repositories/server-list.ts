import { sql, type Expression, type Kysely, type RawBuilder, type SqlBool } from 'kysely'
import { DomainError } from '@volant/contract'
import { likeFromPattern } from '../../domain/name-pattern.ts'
import type { Server } from '../../domain/server.ts'
import type { ServerFilter, ServerPage, ServerSortKey } from '../../ports/servers.ts'
import type { Database } from '../schema.ts'
import { toServer } from './server-row.ts'

const sortColumns: Record<ServerSortKey, { column: string; nullable?: boolean; number?: boolean }> = {
  createdAt: { column: 'created_at' },
  updatedAt: { column: 'updated_at' },
  launchedAt: { column: 'launched_at', nullable: true },
  name: { column: 'name' },
  description: { column: 'description', nullable: true },
  hostname: { column: 'hostname' },
  host: { column: 'host', nullable: true },
  vmState: { column: 'vm_state' },
  taskState: { column: 'task_state', nullable: true },
  powerState: { column: 'power_state', number: true },
  projectId: { column: 'project_id' },
  userId: { column: 'user_id' },
  keyName: { column: 'key_name', nullable: true },
  imageId: { column: 'image_id', nullable: true },
  flavorId: { column: 'flavor_id' },
  lockedBy: { column: 'locked_by', nullable: true },
  id: { column: 'id' },
}

const expressionOf = (key: ServerSortKey): RawBuilder<unknown> => {
  const { column, nullable } = sortColumns[key]
  return nullable === true ? sql`coalesce(${sql.ref(column)}, '')` : sql`${sql.ref(column)}`
}

const valueOf = (server: Server, key: ServerSortKey): string | number => server[key] ?? ''

/** A page of servers; the marker's place is found by the sort keys, so a page costs the same wherever it is. */
export async function listServers(
  db: Kysely<Database>,
  filter: ServerFilter,
  page: ServerPage,
): Promise<Server[]> {
  const sort = page.sort.some(({ key }) => key === 'id')
    ? page.sort
    : [...page.sort, { key: 'id' as const, descending: page.sort[0]?.descending ?? true }]
  let query = db.selectFrom('servers').selectAll()
  for (const condition of conditionsOf(filter)) query = query.where(condition)
  if (page.marker !== undefined) {
    query = query.where(after(await markerServer(db, filter, page.marker), sort))
  }
  for (const { key, descending } of sort) {
    query = query.orderBy(expressionOf(key), descending ? 'desc' : 'asc')
  }
  return (await query.limit(page.limit).execute()).map(toServer)
}

async function markerServer(db: Kysely<Database>, filter: ServerFilter, marker: string): Promise<Server> {
  let query = db.selectFrom('servers').selectAll().where('id', '=', marker)
  if (filter.projectId !== undefined) query = query.where('project_id', '=', filter.projectId)
  const row = await query.executeTakeFirst()
  if (row === undefined) throw new DomainError('invalid', `marker [${marker}] not found`)
  return toServer(row)
}

/**
 * (a, b) after (x, y) is: a after x, or a = x and b after y. Where all directions are the same it is one comparison of
 * rows, which an index in that order answers directly.
 */
function after(server: Server, sort: ServerPage['sort']): RawBuilder<SqlBool> {
  const descending = sort[0]?.descending === true
  if (sort.every((each) => each.descending === descending)) {
    const left = sql.join(sort.map(({ key }) => expressionOf(key)))
    const right = sql.join(sort.map(({ key }) => valueOf(server, key)))
    return sql<SqlBool>`(${left}) ${sql.raw(descending ? '<' : '>')} (${right})`
  }
  const alternatives = sort.map(({ key, descending: isDescending }, index) => {
    const equal = sort
      .slice(0, index)
      .map((earlier) => sql<SqlBool>`${expressionOf(earlier.key)} = ${valueOf(server, earlier.key)}`)
    const beyond = isDescending
      ? sql<SqlBool>`${expressionOf(key)} < ${valueOf(server, key)}`
      : sql<SqlBool>`${expressionOf(key)} > ${valueOf(server, key)}`
    return sql<SqlBool>`(${sql.join([...equal, beyond], sql` and `)})`
  })
  return sql<SqlBool>`(${sql.join(alternatives, sql` or `)})`
}

const like = (column: string, pattern: string): RawBuilder<SqlBool> =>
  sql<SqlBool>`${sql.ref(column)} like ${likeFromPattern(pattern)} escape '\\'`

/** A tag in the JSON array of tags. Tags hold neither `/` nor `,`; quotes are escaped as in the array. */
const hasTag = (tag: string): RawBuilder<SqlBool> => {
  const text = JSON.stringify(tag).replaceAll(/[\\%_]/g, String.raw`\$&`)
  return sql<SqlBool>`tags like ${`%${text}%`} escape '\\'`
}

function* conditionsOf(filter: ServerFilter): Generator<Expression<SqlBool>> {
  const equal: [string, string | number | undefined][] = [
    ['project_id', filter.projectId],
    ['user_id', filter.userId],
    ['power_state', filter.powerState],
    ['host', filter.host],
    ['flavor_id', filter.flavorId],
    ['image_id', filter.imageId],
    ['reservation_id', filter.reservationId],
    ['launch_index', filter.launchIndex],
  ]
  for (const [column, value] of equal) {
    if (value !== undefined) yield sql<SqlBool>`${sql.ref(column)} = ${value}`
  }
  const patterns: [string, string | undefined][] = [
    ['name', filter.name],
    ['description', filter.description],
    ['hostname', filter.hostname],
    ['key_name', filter.keyName],
  ]
  for (const [column, pattern] of patterns) {
    if (pattern !== undefined) yield like(column, pattern)
  }
  const lists: [string, string[] | undefined][] = [
    ['vm_state', filter.vmStates],
    ['task_state', filter.taskStates],
    ['id', filter.ids],
    ['host', filter.hosts],
  ]
  for (const [column, values] of lists) {
    if (values === undefined) continue
    yield values.length === 0
      ? sql<SqlBool>`1 = 0`
      : sql<SqlBool>`${sql.ref(column)} in (${sql.join(values)})`
  }
  if (filter.deleted !== undefined) {
    yield filter.deleted ? sql<SqlBool>`deleted_at is not null` : sql<SqlBool>`deleted_at is null`
  }
  if (filter.locked !== undefined) {
    yield filter.locked ? sql<SqlBool>`locked_by is not null` : sql<SqlBool>`locked_by is null`
  }
  if (filter.changedSince !== undefined) yield sql<SqlBool>`updated_at >= ${filter.changedSince}`
  if (filter.changedBefore !== undefined) yield sql<SqlBool>`updated_at <= ${filter.changedBefore}`
  yield* tagConditions(filter)
}

function* tagConditions(filter: ServerFilter): Generator<Expression<SqlBool>> {
  for (const tag of filter.tagsAll ?? []) yield hasTag(tag)
  if (filter.tagsAny !== undefined && filter.tagsAny.length > 0) {
    yield sql<SqlBool>`(${sql.join(filter.tagsAny.map(hasTag), sql` or `)})`
  }
  if (filter.notTagsAll !== undefined && filter.notTagsAll.length > 0) {
    yield sql<SqlBool>`not (${sql.join(filter.notTagsAll.map(hasTag), sql` and `)})`
  }
  for (const tag of filter.notTagsAny ?? []) yield sql<SqlBool>`not ${hasTag(tag)}`
}
