import type { Kysely } from 'kysely'
import type { AggregateRecords } from '../../ports/records.ts'
import type { Database } from '../schema.ts'

export const aggregateRecords = (db: Kysely<Database>): AggregateRecords => ({
  async list() {
    const rows = await db.selectFrom('aggregates').selectAll().orderBy('created_at').orderBy('name').execute()
    return rows.map((row) => ({
      cluster: row.cluster,
      node: row.node,
      name: row.name,
      path: row.path,
      filesystem: row.filesystem as 'folder' | 'xfs',
      ...(row.size_bytes === null ? {} : { sizeBytes: Number(row.size_bytes) }),
      createdAt: row.created_at,
    }))
  },
  async create(aggregate) {
    await db
      .insertInto('aggregates')
      .values({
        cluster: aggregate.cluster,
        name: aggregate.name,
        node: aggregate.node,
        path: aggregate.path,
        filesystem: aggregate.filesystem ?? 'folder',
        size_bytes: aggregate.sizeBytes ?? null,
        created_at: aggregate.createdAt,
      })
      .onConflict((conflict) => conflict.columns(['cluster', 'name']).doNothing())
      .execute()
  },
  async remove(cluster, name) {
    await db.deleteFrom('aggregates').where('cluster', '=', cluster).where('name', '=', name).execute()
  },
})
