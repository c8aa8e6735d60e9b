import type { Kysely } from 'kysely'

/** What was owned once: the proof that a thing found in the data plane was Volant's, and that it is finished. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('tombstones')
    .addColumn('kind', 'text', (c) => c.notNull())
    .addColumn('id', 'text', (c) => c.notNull())
    .addColumn('volume_id', 'text', (c) => c.notNull())
    .addColumn('server_id', 'text')
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('operation_id', 'text')
    .addColumn('removed_at', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('tombstones_pk', ['kind', 'id'])
    .execute()
  await db.schema.createIndex('tombstones_by_time').on('tombstones').columns(['removed_at']).execute()
}
