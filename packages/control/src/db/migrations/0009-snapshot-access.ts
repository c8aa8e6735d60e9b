import type { Kysely } from 'kysely'

/** Snapshots of shares that can be mounted: who may, and what those that are shown stand on. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('snapshot_access_rules')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('snapshot_id', 'text', (c) => c.notNull().references('snapshots.id').onDelete('cascade'))
    .addColumn('access_type', 'text', (c) => c.notNull())
    .addColumn('access_to', 'text', (c) => c.notNull())
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text')
    .execute()
  await db.schema
    .createIndex('snapshot_access_rules_by_snapshot')
    .unique()
    .on('snapshot_access_rules')
    .columns(['snapshot_id', 'access_type', 'access_to'])
    .execute()
  await db.schema
    .createTable('shown_snapshots')
    .addColumn('snapshot_id', 'text', (c) => c.primaryKey().references('snapshots.id'))
    .addColumn('share_id', 'text', (c) => c.notNull())
    .addColumn('cluster', 'text', (c) => c.notNull())
    .addColumn('volume_id', 'text', (c) => c.notNull())
    .addColumn('export_id', 'integer', (c) => c.notNull())
    .addColumn('created_at', 'text', (c) => c.notNull())
    .execute()
  // As of a share: file handles carry it.
  await db.schema
    .createIndex('shown_snapshots_by_export')
    .unique()
    .on('shown_snapshots')
    .columns(['cluster', 'export_id'])
    .execute()
}
