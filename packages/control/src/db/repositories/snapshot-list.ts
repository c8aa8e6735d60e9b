import { DomainError } from '@volant/contract'
import { sql, type Expression, type Kysely, type SqlBool } from 'kysely'
import type { SnapshotFilter, SnapshotSortKey } from '../../domain/snapshot-query.ts'
import type { SnapshotLists } from '../../ports/snapshots.ts'
import type { Database } from '../schema.ts'
import { afterKey, contains, hasPair, oneOf, withTieBreak, type Sort } from './keyset.ts'
import { toSnapshot } from './snapshot.ts'

export function snapshotLists(db: Kysely<Database>): SnapshotLists {
  const matching = (filter: SnapshotFilter) =>
    db.selectFrom('snapshots').where((eb) => eb.and(conditions(filter)))
  return {
    async page(request) {
      const sort = withTieBreak(request.sort)
      let query = matching(request.filter).selectAll('snapshots')
      if (request.marker !== undefined) {
        query = query.where(afterKey(sort, sortColumn, await keyOf(db, request.marker, sort)))
      }
      for (const { key, direction } of sort) query = query.orderBy(sortColumn(key), direction)
      query = query.limit(request.limit)
      if (request.offset > 0) query = query.offset(request.offset)
      return (await query.execute()).map(toSnapshot)
    },
    async count(filter) {
      const row = await matching(filter)
        .select((eb) => eb.fn.countAll<number>().as('count'))
        .executeTakeFirstOrThrow()
      return Number(row.count)
    },
    async usersOf(snapshotId) {
      const rows = await db
        .selectFrom('volumes')
        .select('id')
        .where('snapshot_id', '=', snapshotId)
        .where('status', 'in', ['creating', 'downloading'])
        .execute()
      return rows.map(({ id }) => id)
    },
  }
}

/** Null sorts as the empty text, so that a marker's key can be compared. */
function sortColumn(key: SnapshotSortKey) {
  switch (key) {
    case 'created_at':
    case 'id':
    case 'status':
    case 'volume_id':
      return sql.ref<string | number>(`snapshots.${key}`)
    case 'size':
      return sql.ref<string | number>('snapshots.size_gib')
    case 'name':
    case 'updated_at':
      return sql<string | number>`coalesce(${sql.ref(`snapshots.${key}`)}, '')`
  }
}

async function keyOf(
  db: Kysely<Database>,
  marker: string,
  sort: Sort<SnapshotSortKey>[],
): Promise<(string | number)[]> {
  const row = await db
    .selectFrom('snapshots')
    .select(sort.map(({ key }, index) => sortColumn(key).as(`k${index}`)))
    .where('id', '=', marker)
    .where('share_id', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw new DomainError('notFound', `Snapshot ${marker} could not be found.`)
  const values = row as Record<string, string | number>
  return sort.map((_, index) => values[`k${index}`] as string | number)
}

function conditions(f: SnapshotFilter): Expression<SqlBool>[] {
  // A share's snapshots are Manila's.
  const all: Expression<SqlBool>[] = [sql<SqlBool>`snapshots.share_id is null`]
  const text = (column: string, values: string[] | undefined) => {
    if (values !== undefined) all.push(oneOf(`snapshots.${column}`, values))
  }
  text('project_id', f.projectId === undefined ? undefined : [f.projectId])
  text('id', f.ids)
  text('name', f.names)
  text('status', f.statuses)
  text('volume_id', f.volumeIds)
  text('user_id', f.userIds)
  if (f.availabilityZones !== undefined) {
    const zones = oneOf('volumes.availability_zone', f.availabilityZones)
    all.push(sql<SqlBool>`snapshots.volume_id in (select id from volumes where ${zones})`)
  }
  if (f.sizes !== undefined) all.push(sql<SqlBool>`snapshots.size_gib in (${sql.join(f.sizes)})`)
  if (f.nameContains !== undefined) all.push(contains('snapshots.name', f.nameContains))
  if (f.descriptionContains !== undefined) {
    all.push(contains('snapshots.description', f.descriptionContains))
  }
  if (f.statusContains !== undefined) all.push(contains('snapshots.status', f.statusContains))
  for (const [key, value] of Object.entries(f.metadata ?? {})) {
    all.push(hasPair('snapshots.metadata', key, value))
  }
  return all
}
