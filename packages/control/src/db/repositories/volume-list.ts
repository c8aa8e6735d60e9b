import { DomainError } from '@volant/contract'
import { sql, type Expression, type ExpressionBuilder, type Kysely, type SqlBool } from 'kysely'
import type { Attachment } from '../../domain/volume.ts'
import type { VolumeFilter, VolumeSort, VolumeSortKey } from '../../domain/volume-query.ts'
import type { AttachmentPageRequest, VolumeLists } from '../../ports/block-storage.ts'
import { prepared, whileUnchanged } from '../prepared.ts'
import type { Database } from '../schema.ts'
import { attachmentColumns, attachmentOfTuple, toAttachment, type AttachmentTuple } from './attachment.ts'
import { blockServiceRecords } from './block-service.ts'
import { toFlexVol } from './flexvol.ts'
import { isShown } from './hidden.ts'
import { afterKey, contains, hasPair, oneOf, timeIs, withTieBreak } from './keyset.ts'
import { isWhole, volumePages } from './volume-page.ts'
import { volumeTypeRecords } from './volume-type.ts'
import { volumeColumns, volumeOf, volumeOfTuple, type VolumeTuple } from './volume.ts'

type Where = ExpressionBuilder<Database, 'volumes'>

export function volumeLists(db: Kysely<Database>): VolumeLists {
  const common = volumePages(db)
  const byIds = prepared<{ ids: string }, VolumeTuple>(db, (given) =>
    db
      .selectFrom('volumes')
      .select(volumeColumns)
      .where('id', 'in', sql<string>`(select value from json_each(${given('ids')}))`),
  )
  const attachmentsOf = prepared<{ ids: string }, AttachmentTuple>(db, (given) =>
    db
      .selectFrom('attachments')
      .select(attachmentColumns)
      // One statement for pages of any length.
      .where('volume_id', 'in', sql<string>`(select value from json_each(${given('ids')}))`)
      .orderBy('created_at'),
  )
  const matching = (filter: VolumeFilter) =>
    db.selectFrom('volumes').where((eb) => eb.and(conditions(eb, filter)))
  return {
    referred: whileUnchanged(db, readReferred(db)),
    marks: async (request) => common.marks(request),
    byIds: async (ids) => (await byIds({ ids: JSON.stringify(ids) })).map(volumeOfTuple),
    async page(request) {
      const page = common.page(request)
      if (page !== undefined) return page
      const sort = withTieBreak(request.sort)
      let query = matching(request.filter).selectAll('volumes')
      if (request.marker !== undefined) {
        const key = await keyOf(db, request.marker, sort)
        query = query.where(afterKey(sort, sortColumn, key))
      }
      for (const { key, direction } of sort) query = query.orderBy(sortColumn(key), direction)
      query = query.limit(request.limit)
      if (request.offset > 0) query = query.offset(request.offset)
      return (await query.execute()).map(volumeOf)
    },
    async count(filter) {
      const all = await ofProject(db, filter)
      if (all !== undefined) return all.count
      const row = await matching(filter)
        .select((eb) => eb.fn.countAll<number>().as('count'))
        .executeTakeFirstOrThrow()
      return Number(row.count)
    },
    async summary(filter) {
      const all = await ofProject(db, filter)
      if (all !== undefined) return all
      const row = await matching(filter)
        .select((eb) => [
          eb.fn.countAll<number>().as('count'),
          eb.fn.coalesce(eb.fn.sum<number>('size_gib'), sql<number>`0`).as('size'),
        ])
        .executeTakeFirstOrThrow()
      return { count: Number(row.count), sizeGib: Number(row.size) }
    },
    async metadataValues(filter) {
      const { projectId } = filter
      const rows =
        projectId !== undefined && isWhole(filter)
          ? await metadataOfProject(db, projectId)
          : await matching(filter)
              .select('metadata')
              .distinct()
              .where('metadata', '!=', '{}')
              .limit(mostMetadata)
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
      return (await attachmentsOf({ ids: JSON.stringify(volumeIds) })).map(attachmentOfTuple)
    },
    attachmentPage: (request) => attachmentPage(db, request),
    async leftRootDisks() {
      const rows = await db
        .selectFrom('volumes')
        .selectAll()
        .where('root_of', 'is not', null)
        // The plus keeps the index by status out of it: nearly all volumes are available, and few are root disks.
        .where(sql<string>`+status`, 'in', ['available', 'error', 'error_deleting'])
        .where((eb) =>
          eb.not(
            eb.exists(
              eb.selectFrom('attachments').select('id').whereRef('attachments.volume_id', '=', 'volumes.id'),
            ),
          ),
        )
        .orderBy('created_at')
        .execute()
      return rows.map(volumeOf)
    },
  }
}

/** Distinct metadata that a summary looks at. */
const mostMetadata = 10_000

/** From one to the next in the index of them, over however many volumes have the same. */
async function metadataOfProject(db: Kysely<Database>, projectId: string): Promise<{ metadata: string }[]> {
  const next = (than: string) => sql`(select metadata from volumes
    where project_id = ${projectId} and share_id is null and root_of is null and metadata <> '{}'
    and metadata > ${sql.raw(than)} order by metadata limit 1)`
  const { rows } = await sql<{ metadata: string }>`
    with recursive found (metadata) as (
      select ${next("''")} union all select ${next('found.metadata')} from found where found.metadata is not null
    )
    select metadata from found where metadata is not null limit ${mostMetadata}`.execute(db)
  return rows
}

/** The same object for as long as it says the same. Those of shares are nobody's pools; there may be many of them. */
function readReferred(db: Kysely<Database>): VolumeLists['referred'] {
  let last: { text: string; value: Awaited<ReturnType<VolumeLists['referred']>> } | undefined
  return async () => {
    const rows = await db.selectFrom('flexvols').selectAll().where('share_id', 'is', null).execute()
    const services = await blockServiceRecords(db).list()
    const types = await volumeTypeRecords(db).list()
    const text = JSON.stringify([rows, services, types])
    if (last?.text === text) return last.value
    const flexvols = new Map(rows.map((row) => [row.id, toFlexVol(row)]))
    last = { text, value: { flexvols, services, types: new Map(types.map((type) => [type.id, type])) } }
    return last.value
  }
}

/** Number and size of all of a project's volumes, which are kept; undefined where the filter asks for other ones. */
async function ofProject(
  db: Kysely<Database>,
  filter: VolumeFilter,
): Promise<{ count: number; sizeGib: number } | undefined> {
  const { projectId } = filter
  if (projectId === undefined || !isWhole(filter)) return undefined
  const row = await db
    .selectFrom('block_usage')
    .select(['count', 'size_gib'])
    .where('project_id', '=', projectId)
    .where('kind', '=', 'volume')
    .executeTakeFirst()
  return { count: row?.count ?? 0, sizeGib: row?.size_gib ?? 0 }
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
    .where(isShown('volumes'))
    .executeTakeFirst()
  if (row === undefined) throw new DomainError('notFound', `Volume ${marker} could not be found.`)
  const values = row as Record<string, string | number>
  return sort.map((_, index) => values[`k${index}`] as string | number)
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
  | 'snapshot_id'
  | 'flexvol_id'

function conditions(eb: Where, f: VolumeFilter): Expression<SqlBool>[] {
  const all: Expression<SqlBool>[] = [
    f.withRootDisks === true ? eb('share_id', 'is', null) : isShown('volumes'),
  ]
  const text = (column: TextColumn, values: string[] | undefined) => {
    if (values !== undefined) all.push(oneOf(column, values))
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
  text('snapshot_id', f.snapshotIds)
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
  for (const comparison of f.createdAt ?? []) all.push(timeIs('created_at', comparison))
  for (const comparison of f.updatedAt ?? []) all.push(timeIs('updated_at', comparison))
  return all
}

/** Without null it is a list alone, which an index of those that have a status answers. */
function migrationStatus(eb: Where, values: (string | null)[]): Expression<SqlBool> {
  const isOne = eb(
    'migration_status',
    'in',
    values.filter((value) => value !== null),
  )
  return values.includes(null) ? eb.or([isOne, eb('migration_status', 'is', null)]) : isOne
}

async function attachmentPage(db: Kysely<Database>, request: AttachmentPageRequest): Promise<Attachment[]> {
  let query = db.selectFrom('attachments').selectAll().where(isShown('attachments'))
  if (request.projectId !== undefined) query = query.where('project_id', '=', request.projectId)
  if (request.volumeId !== undefined) query = query.where('volume_id', '=', request.volumeId)
  if (request.serverId !== undefined) query = query.where('server_id', '=', request.serverId)
  if (request.statuses !== undefined) query = query.where('status', 'in', request.statuses)
  if (request.marker !== undefined) {
    const marker = await db
      .selectFrom('attachments')
      .select(['created_at', 'id'])
      .where('id', '=', request.marker)
      .where(isShown('attachments'))
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
