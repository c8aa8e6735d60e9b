import { DomainError } from '@volant/contract'
import { sql, type Expression, type ExpressionBuilder, type Kysely, type SqlBool } from 'kysely'
import type { Attachment } from '../../domain/volume.ts'
import type { TimeComparison, VolumeFilter, VolumeSort, VolumeSortKey } from '../../domain/volume-query.ts'
import type { AttachmentPageRequest, VolumeLists } from '../../ports/block-storage.ts'
import type { Database } from '../schema.ts'
import { toAttachment } from './attachment.ts'
import { volumeOf } from './volume.ts'

type Where = ExpressionBuilder<Database, 'volumes'>

export function volumeLists(db: Kysely<Database>): VolumeLists {
  const matching = (filter: VolumeFilter) =>
    db.selectFrom('volumes').where((eb) => eb.and(conditions(eb, filter)))
  return {
    async page(request) {
      const sort = withTieBreak(request.sort)
      let query = matching(request.filter).selectAll('volumes')
      if (request.marker !== undefined) {
        const key = await keyOf(db, request.marker, sort)
        query = query.where((eb) => after(eb, sort, key))
      }
      for (const { key, direction } of sort) query = query.orderBy(sortColumn(key), direction)
      query = query.limit(request.limit)
      if (request.offset > 0) query = query.offset(request.offset)
      return (await query.execute()).map(volumeOf)
    },
    async count(filter) {
      const row = await matching(filter)
        .select((eb) => eb.fn.countAll<number>().as('count'))
        .executeTakeFirstOrThrow()
      return Number(row.count)
    },
    async summary(filter) {
      const row = await matching(filter)
        .select((eb) => [
          eb.fn.countAll<number>().as('count'),
          eb.fn.coalesce(eb.fn.sum<number>('size_gib'), sql<number>`0`).as('size'),
        ])
        .executeTakeFirstOrThrow()
      return { count: Number(row.count), sizeGib: Number(row.size) }
    },
    async metadataValues(filter) {
      const rows = await matching(filter)
        .select('metadata')
        .distinct()
        .where('metadata', '!=', '{}')
        .limit(10_000)
        .execute()
      const values: Record<string, Set<string>> = {}
      for (const row of rows) {
        for (const [key, value] of Object.entries(JSON.parse(row.metadata) as Record<string, string>)) {
          ;(values[key] ??= new Set()).add(value)
        }
      }
      return Object.fromEntries(Object.entries(values).map(([key, set]) => [key, [...set]]))
    },
    async attachmentsOf(volumeIds) {
      if (volumeIds.length === 0) return []
      const rows = await db
        .selectFrom('attachments')
        .selectAll()
        .where('volume_id', 'in', volumeIds)
        .orderBy('created_at')
        .execute()
      return rows.map(toAttachment)
    },
    attachmentPage: (request) => attachmentPage(db, request),
  }
}

/** The id makes every order total, so that a page never repeats or skips a volume. */
function withTieBreak(sort: VolumeSort[]): VolumeSort[] {
  const direction = sort.at(-1)?.direction ?? 'desc'
  return sort.some((s) => s.key === 'id') ? sort : [...sort, { key: 'id', direction }]
}

/** Null sorts as the empty text, so that a marker's key can be compared. */
function sortColumn(key: VolumeSortKey) {
  switch (key) {
    case 'created_at':
    case 'id':
    case 'status':
    case 'bootable':
    case 'availability_zone':
      return sql.ref<string | number>(`volumes.${key}`)
    case 'size':
      return sql.ref<string | number>('volumes.size_gib')
    case 'host':
      return sql<string | number>`coalesce(${sql.ref('volumes.flexvol_id')}, '')`
    case 'name':
    case 'updated_at':
    case 'migration_status':
      return sql<string | number>`coalesce(${sql.ref(`volumes.${key}`)}, '')`
  }
}

async function keyOf(db: Kysely<Database>, marker: string, sort: VolumeSort[]): Promise<(string | number)[]> {
  const row = await db
    .selectFrom('volumes')
    .select(sort.map(({ key }, index) => sortColumn(key).as(`k${index}`)))
    .where('id', '=', marker)
    .executeTakeFirst()
  if (row === undefined) throw new DomainError('notFound', `Volume ${marker} could not be found.`)
  const values = row as Record<string, string | number>
  return sort.map((_, index) => values[`k${index}`] as string | number)
}

/**
 * After the marker in the order. Where all directions are the same it is one comparison of rows, which an index
 * in that order answers directly.
 */
function after(eb: Where, sort: VolumeSort[], key: (string | number)[]): Expression<SqlBool> {
  const operator = (direction: VolumeSort['direction']) => (direction === 'asc' ? '>' : '<')
  const first = sort[0] as VolumeSort
  if (sort.every((s) => s.direction === first.direction)) {
    const left = sql.join(sort.map((s) => sortColumn(s.key)))
    return sql<SqlBool>`(${left}) ${sql.raw(operator(first.direction))} (${sql.join(key)})`
  }
  return eb.or(
    sort.map((s, index) =>
      eb.and([
        ...sort.slice(0, index).map((t, i) => eb(sortColumn(t.key), '=', key[i] as string)),
        eb(sortColumn(s.key), operator(s.direction), key[index] as string),
      ]),
    ),
  )
}

type TextColumn =
  | 'id'
  | 'name'
  | 'description'
  | 'status'
  | 'availability_zone'
  | 'volume_type_id'
  | 'user_id'
  | 'source_volid'
  | 'flexvol_id'

/** Equality with one value, so that the planner may choose an index by it; `in` for several; false for none. */
function oneOf(eb: Where, column: TextColumn, values: string[]): Expression<SqlBool> {
  const [only] = values
  if (only === undefined) return sql<SqlBool>`1 = 0`
  return values.length === 1 ? eb(column, '=', only) : eb(column, 'in', values)
}

function conditions(eb: Where, f: VolumeFilter): Expression<SqlBool>[] {
  const all: Expression<SqlBool>[] = []
  const text = (column: TextColumn, values: string[] | undefined) => {
    if (values !== undefined) all.push(oneOf(eb, column, values))
  }
  if (f.projectId !== undefined) all.push(eb('project_id', '=', f.projectId))
  text('id', f.ids)
  text('name', f.names)
  text('description', f.descriptions)
  text('status', f.statuses)
  text('availability_zone', f.availabilityZones)
  text('volume_type_id', f.volumeTypeIds)
  text('user_id', f.userIds)
  text('source_volid', f.sourceVolids)
  text('flexvol_id', f.flexvolIds)
  if (f.sizes !== undefined) all.push(eb('size_gib', 'in', f.sizes))
  if (f.bootable !== undefined) all.push(eb('bootable', '=', f.bootable ? 1 : 0))
  if (f.multiattach !== undefined) all.push(eb('multiattach', '=', f.multiattach ? 1 : 0))
  if (f.migrationStatuses !== undefined) all.push(migrationStatus(eb, f.migrationStatuses))
  if (f.nameContains !== undefined) all.push(contains('name', f.nameContains))
  if (f.descriptionContains !== undefined) all.push(contains('description', f.descriptionContains))
  if (f.statusContains !== undefined) all.push(contains('status', f.statusContains))
  for (const [key, value] of Object.entries(f.metadata ?? {})) all.push(hasPair('metadata', key, value))
  for (const [key, value] of Object.entries(f.imageMetadata ?? {})) {
    all.push(hasPair('image_metadata', key, value))
  }
  all.push(...times(eb, 'created_at', f.createdAt), ...times(eb, 'updated_at', f.updatedAt))
  return all
}

const migrationStatus = (eb: Where, values: (string | null)[]): Expression<SqlBool> =>
  eb.or([
    ...values.filter((v) => v !== null).map((v) => eb('migration_status', '=', v)),
    ...(values.includes(null) ? [eb('migration_status', 'is', null)] : []),
  ])

const likeEscaped = (text: string): string => text.replace(/[\\%_]/g, (c) => `\\${c}`)

const contains = (column: string, part: string): Expression<SqlBool> =>
  sql<SqlBool>`${sql.ref(column)} like ${`%${likeEscaped(part)}%`} escape '\\'`

/**
 * The column is JSON text as `JSON.stringify` writes it, so a pair can be found as text in it: what is in quotes
 * there is escaped. (`like` would ignore case.)
 */
const hasPair = (column: string, key: string, value: string): Expression<SqlBool> =>
  sql<SqlBool>`(${holds(column, `{${pair(key, value)}`)} or ${holds(column, `,${pair(key, value)}`)})`

const holds = (column: string, part: string): Expression<SqlBool> =>
  sql<SqlBool>`replace(${sql.ref(column)}, ${part}, '') <> ${sql.ref(column)}`

const pair = (key: string, value: string): string => `${JSON.stringify(key)}:${JSON.stringify(value)}`

const times = (eb: Where, column: 'created_at' | 'updated_at', comparisons: TimeComparison[] = []) =>
  comparisons.map(({ operator, time }) => eb(column, operator, time))

async function attachmentPage(db: Kysely<Database>, request: AttachmentPageRequest): Promise<Attachment[]> {
  let query = db.selectFrom('attachments').selectAll()
  if (request.projectId !== undefined) query = query.where('project_id', '=', request.projectId)
  if (request.volumeId !== undefined) query = query.where('volume_id', '=', request.volumeId)
  if (request.serverId !== undefined) query = query.where('server_id', '=', request.serverId)
  if (request.statuses !== undefined) query = query.where('status', 'in', request.statuses)
  if (request.marker !== undefined) {
    const marker = await db
      .selectFrom('attachments')
      .select(['created_at', 'id'])
      .where('id', '=', request.marker)
      .executeTakeFirst()
    if (marker === undefined) {
      throw new DomainError('notFound', `Attachment ${request.marker} could not be found.`)
    }
    query = query.where((eb) =>
      eb(eb.refTuple('created_at', 'id'), '<', eb.tuple(marker.created_at, marker.id)),
    )
  }
  const rows = await query
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(request.limit + 1)
    .offset(request.offset)
    .execute()
  return rows.map(toAttachment)
}
