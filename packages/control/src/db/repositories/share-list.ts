import { DomainError } from '@volant/contract'
import { sql, type Expression, type Kysely, type SqlBool } from 'kysely'
import { placeKey } from '../../domain/aggregate-space.ts'
import type {
  ShareFilter,
  ShareSnapshotFilter,
  ShareSnapshotSortKey,
  ShareSortKey,
} from '../../domain/share-query.ts'
import type { ShareLists } from '../../ports/share-records.ts'
import type { Database } from '../schema.ts'
import { afterKey, contains, hasPair, oneOf, withTieBreak, type Sort } from './keyset.ts'
import { toShare } from './share.ts'
import { toSnapshot } from './snapshot.ts'

export function shareLists(db: Kysely<Database>): ShareLists {
  const shares = (filter: ShareFilter) =>
    db.selectFrom('shares').where((eb) => eb.and(shareConditions(filter)))
  const snapshots = (filter: ShareSnapshotFilter) =>
    db.selectFrom('snapshots').where((eb) => eb.and(snapshotConditions(filter)))
  return {
    async page(request) {
      const sort = withTieBreak(request.sort)
      let query = shares(request.filter).selectAll('shares')
      if (request.marker !== undefined) {
        const key = await keyOf(db, 'shares', request.marker, sort, shareColumn)
        query = query.where(afterKey(sort, shareColumn, key))
      }
      for (const { key, direction } of sort) query = query.orderBy(shareColumn(key), direction)
      return (await query.limit(request.limit).offset(request.offset).execute()).map(toShare)
    },
    async count(filter) {
      const row = await shares(filter)
        .select((eb) => eb.fn.countAll<number>().as('count'))
        .executeTakeFirstOrThrow()
      return Number(row.count)
    },
    async snapshotPage(request) {
      const sort = withTieBreak(request.sort)
      let query = snapshots(request.filter).selectAll('snapshots')
      if (request.marker !== undefined) {
        const key = await keyOf(db, 'snapshots', request.marker, sort, snapshotColumn)
        query = query.where(afterKey(sort, snapshotColumn, key))
      }
      for (const { key, direction } of sort) query = query.orderBy(snapshotColumn(key), direction)
      return (await query.limit(request.limit).offset(request.offset).execute()).map(toSnapshot)
    },
    async snapshotCount(filter) {
      const row = await snapshots(filter)
        .select((eb) => eb.fn.countAll<number>().as('count'))
        .executeTakeFirstOrThrow()
      return Number(row.count)
    },
    async countSnapshots(shareId) {
      const row = await snapshots({ shareId })
        .select((eb) => eb.fn.countAll<number>().as('count'))
        .executeTakeFirstOrThrow()
      return Number(row.count)
    },
    async latestSnapshot(shareId) {
      const row = await snapshots({ shareId })
        .selectAll('snapshots')
        .orderBy('created_at', 'desc')
        .orderBy('id', 'desc')
        .limit(1)
        .executeTakeFirst()
      return row === undefined ? undefined : toSnapshot(row)
    },
    async usersOf(snapshotId) {
      const rows = await db
        .selectFrom('shares')
        .select('id')
        .where('source_snapshot_id', '=', snapshotId)
        .where('status', 'in', ['creating', 'creating_from_snapshot'])
        .execute()
      return rows.map(({ id }) => id)
    },
    async placesOf(shareIds) {
      if (shareIds.length === 0) return new Map()
      const rows = await db
        .selectFrom('flexvols')
        .select(['share_id', 'cluster', 'node', 'aggregate'])
        .where('share_id', 'is not', null)
        .where('share_id', 'in', [...shareIds])
        .execute()
      return new Map(rows.map(({ share_id: shareId, ...place }) => [shareId ?? '', place]))
    },
    async allocatedByAggregate() {
      const rows = await db
        .selectFrom('shares')
        .innerJoin('flexvols', 'flexvols.id', 'shares.flexvol_id')
        .select((eb) => [
          'flexvols.node',
          'flexvols.aggregate',
          eb.fn.sum<number | null>('shares.size_gib').as('size'),
        ])
        .groupBy(['flexvols.node', 'flexvols.aggregate'])
        .execute()
      return new Map(rows.map((row) => [placeKey(row), Number(row.size ?? 0)]))
    },
  }
}

type Column = Expression<string | number>

/** Null sorts as the empty text, so that a marker's key can be compared. */
function shareColumn(key: ShareSortKey): Column {
  switch (key) {
    case 'size':
      return sql.ref<string | number>('shares.size_gib')
    case 'share_proto':
      return sql<string | number>`'NFS'`
    case 'host':
      return sql<string | number>`coalesce((select flexvols.cluster || '#' || flexvols.aggregate from flexvols
        where flexvols.id = shares.flexvol_id), '')`
    case 'snapshot_id':
      return sql<string | number>`coalesce(shares.source_snapshot_id, '')`
    case 'name':
    case 'updated_at':
      return sql<string | number>`coalesce(${sql.ref(`shares.${key}`)}, '')`
    case 'created_at':
    case 'id':
    case 'status':
    case 'availability_zone':
    case 'user_id':
    case 'project_id':
    case 'share_type_id':
      return sql.ref<string | number>(`shares.${key}`)
  }
}

function snapshotColumn(key: ShareSnapshotSortKey): Column {
  switch (key) {
    case 'size':
      return sql.ref<string | number>('snapshots.size_gib')
    case 'name':
    case 'updated_at':
    case 'share_id':
      return sql<string | number>`coalesce(${sql.ref(`snapshots.${key}`)}, '')`
    case 'created_at':
    case 'id':
    case 'status':
    case 'user_id':
    case 'project_id':
      return sql.ref<string | number>(`snapshots.${key}`)
  }
}

async function keyOf<Key extends string>(
  db: Kysely<Database>,
  table: 'shares' | 'snapshots',
  marker: string,
  sort: Sort<Key>[],
  column: (key: Key) => Column,
): Promise<(string | number)[]> {
  const row = await db
    .selectFrom(table)
    .select(sort.map(({ key }, index) => sql<string | number>`${column(key)}`.as(`k${index}`)))
    .where('id', '=', marker)
    .executeTakeFirst()
  if (row === undefined) {
    const what = table === 'shares' ? 'Share' : 'Snapshot'
    throw new DomainError('notFound', `${what} ${marker} could not be found.`)
  }
  const values = row as Record<string, string | number>
  return sort.map((_, index) => values[`k${index}`] as string | number)
}

function shareConditions(f: ShareFilter): Expression<SqlBool>[] {
  const all: Expression<SqlBool>[] = []
  const text = (column: string, values: string[] | undefined) => {
    if (values !== undefined) all.push(oneOf(`shares.${column}`, values))
  }
  const one = (column: string, value: string | undefined) =>
    text(column, value === undefined ? undefined : [value])
  if (f.none === true) all.push(sql<SqlBool>`1 = 0`)
  if (f.projectId !== undefined) {
    const own = oneOf('shares.project_id', [f.projectId])
    all.push(f.withPublic === true ? sql<SqlBool>`(${own} or shares.is_public = 1)` : own)
  }
  if (f.isPublic !== undefined) all.push(sql<SqlBool>`shares.is_public = ${f.isPublic ? 1 : 0}`)
  text('id', f.ids)
  one('name', f.name)
  one('description', f.description)
  one('status', f.status)
  text('share_type_id', f.shareTypeIds)
  one('source_snapshot_id', f.snapshotId)
  one('user_id', f.userId)
  one('availability_zone', f.availabilityZone)
  one('cluster', f.cluster)
  text('flexvol_id', f.flexvolIds)
  if (f.nameContains !== undefined) all.push(contains('shares.name', f.nameContains))
  if (f.descriptionContains !== undefined) all.push(contains('shares.description', f.descriptionContains))
  for (const [key, value] of Object.entries(f.metadata ?? {})) {
    all.push(hasPair('shares.metadata', key, value))
  }
  return all
}

function snapshotConditions(f: ShareSnapshotFilter): Expression<SqlBool>[] {
  const all: Expression<SqlBool>[] = [sql<SqlBool>`snapshots.share_id is not null`]
  const one = (column: string, value: string | undefined) => {
    if (value !== undefined) all.push(oneOf(`snapshots.${column}`, [value]))
  }
  if (f.none === true) all.push(sql<SqlBool>`1 = 0`)
  one('project_id', f.projectId)
  one('id', f.id)
  one('name', f.name)
  one('description', f.description)
  one('status', f.status)
  one('share_id', f.shareId)
  one('user_id', f.userId)
  if (f.size !== undefined) all.push(sql<SqlBool>`snapshots.size_gib = ${f.size}`)
  if (f.nameContains !== undefined) all.push(contains('snapshots.name', f.nameContains))
  if (f.descriptionContains !== undefined) {
    all.push(contains('snapshots.description', f.descriptionContains))
  }
  for (const [key, value] of Object.entries(f.metadata ?? {})) {
    all.push(hasPair('snapshots.metadata', key, value))
  }
  return all
}
