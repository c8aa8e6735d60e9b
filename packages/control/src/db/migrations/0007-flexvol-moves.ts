import { sql, type Kysely } from 'kysely'

/** FlexVols that move, snapshots, aggregates made at run time, and operations that are part of another one. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await addColumns(db)
  await db.schema
    .createTable('flexvol_moves')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('flexvol_id', 'text', (c) => c.notNull().references('flexvols.id').onDelete('cascade'))
    .addColumn('from_node', 'text', (c) => c.notNull())
    .addColumn('from_aggregate', 'text', (c) => c.notNull())
    .addColumn('to_node', 'text', (c) => c.notNull())
    .addColumn('to_aggregate', 'text', (c) => c.notNull())
    .addColumn('cutover_window_seconds', 'integer', (c) => c.notNull())
    .addColumn('cutover_action', 'text', (c) => c.notNull())
    .addColumn('cutover', 'text', (c) => c.notNull())
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('started_at', 'text', (c) => c.notNull())
    .addColumn('ended_at', 'text')
    .execute()
  await db.schema
    .createIndex('flexvol_moves_by_flexvol')
    .on('flexvol_moves')
    .columns(['flexvol_id', 'started_at'])
    .execute()

  await db.schema
    .createTable('snapshots')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('volume_id', 'text', (c) => c.notNull())
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addColumn('user_id', 'text', (c) => c.notNull())
    .addColumn('name', 'text')
    .addColumn('description', 'text')
    .addColumn('size_gib', 'integer', (c) => c.notNull())
    .addColumn('status', 'text', (c) => c.notNull())
    .addColumn('metadata', 'text', (c) => c.notNull().defaultTo('{}'))
    .addColumn('flexvol_id', 'text', (c) => c.notNull().references('flexvols.id'))
    .addColumn('image_id', 'text')
    .addColumn('method', 'text')
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text')
    .execute()
  await db.schema
    .createIndex('snapshots_by_volume')
    .on('snapshots')
    .columns(['volume_id', 'created_at', 'id'])
    .execute()
  await db.schema
    .createIndex('snapshots_by_project')
    .on('snapshots')
    .columns(['project_id', 'created_at', 'id'])
    .execute()
  // The sums for quotas are read from an index alone.
  await db.schema.createIndex('snapshots_usage').on('snapshots').columns(['project_id', 'size_gib']).execute()
  await db.schema.createIndex('snapshots_by_time').on('snapshots').columns(['created_at', 'id']).execute()
  await db.schema.createIndex('snapshots_by_flexvol').on('snapshots').columns(['flexvol_id']).execute()

  await db.schema
    .createTable('aggregates')
    .addColumn('cluster', 'text', (c) => c.notNull())
    .addColumn('name', 'text', (c) => c.notNull())
    .addColumn('node', 'text', (c) => c.notNull())
    .addColumn('path', 'text', (c) => c.notNull())
    .addColumn('filesystem', 'text', (c) => c.notNull())
    .addColumn('size_bytes', 'bigint')
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('aggregates_pk', ['cluster', 'name'])
    .execute()
}

async function addColumns(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('flexvols').addColumn('size_bytes', 'bigint').execute()
  await db.schema.alterTable('flexvols').addColumn('destination_node', 'text').execute()
  await db.schema.alterTable('flexvols').addColumn('destination_aggregate', 'text').execute()
  await db.schema
    .alterTable('flexvols')
    .addColumn('move_reserved_bytes', 'bigint', (c) => c.notNull().defaultTo(0))
    .execute()
  await db.schema.alterTable('volumes').addColumn('snapshot_id', 'text').execute()
  await db.schema.alterTable('copies').addColumn('snapshot_id', 'text').execute()
  await db.schema.createIndex('copies_by_snapshot').on('copies').columns(['snapshot_id']).execute()
  await db.schema.dropIndex('copies_provisioned').execute()
  await db.schema
    .createIndex('copies_provisioned')
    .on('copies')
    .columns(['flexvol_id', 'state', 'snapshot_id', 'size_bytes', 'reserved_bytes'])
    .execute()
  // What is on the aggregates, and what is held back there, are read from an index alone.
  await db.schema
    .createIndex('copies_there')
    .on('copies')
    .columns(['node', 'aggregate', 'flexvol_id', 'state', 'retained_until'])
    .execute()
  await sql`create index copies_reserved on copies (node, aggregate, reserved_bytes) where reserved_bytes > 0`.execute(
    db,
  )
  await db.schema.alterTable('operations').addColumn('parent_id', 'text').execute()
  await db.schema
    .createIndex('operations_by_parent')
    .on('operations')
    .columns(['parent_id', 'created_at', 'id'])
    .execute()
}
