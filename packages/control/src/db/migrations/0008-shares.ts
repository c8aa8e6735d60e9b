import { sql, type Kysely } from 'kysely'

/** Shares, their access rules and types; what they stand on is marked as theirs. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const table of ['flexvols', 'volumes', 'attachments', 'snapshots'] as const) {
    await db.schema.alterTable(table).addColumn('share_id', 'text').execute()
    await sql`create index ${sql.ref(`${table}_by_share`)} on ${sql.table(table)} (share_id) where share_id is not null`.execute(
      db,
    )
  }
  await makeShares(db)
  await makeRules(db)
  await makeTypes(db)
  await makeQuotas(db)
}

async function makeShares(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('shares')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addColumn('user_id', 'text', (c) => c.notNull())
    .addColumn('name', 'text')
    .addColumn('description', 'text')
    .addColumn('size_gib', 'integer', (c) => c.notNull())
    .addColumn('status', 'text', (c) => c.notNull())
    .addColumn('task_state', 'text')
    .addColumn('share_type_id', 'text', (c) => c.notNull())
    .addColumn('is_public', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('snapshot_support', 'integer', (c) => c.notNull())
    .addColumn('create_share_from_snapshot_support', 'integer', (c) => c.notNull())
    .addColumn('revert_to_snapshot_support', 'integer', (c) => c.notNull())
    .addColumn('mount_snapshot_support', 'integer', (c) => c.notNull())
    .addColumn('root_squash', 'integer', (c) => c.notNull())
    .addColumn('source_snapshot_id', 'text')
    .addColumn('cluster', 'text', (c) => c.notNull())
    .addColumn('flexvol_id', 'text')
    .addColumn('volume_id', 'text')
    .addColumn('export_id', 'integer')
    .addColumn('access_rules_status', 'text', (c) => c.notNull())
    .addColumn('migration', 'text')
    .addColumn('growth_gib', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('metadata', 'text', (c) => c.notNull().defaultTo('{}'))
    .addColumn('availability_zone', 'text', (c) => c.notNull())
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text')
    .execute()
  await db.schema
    .createIndex('shares_by_project')
    .on('shares')
    .columns(['project_id', 'created_at', 'id'])
    .execute()
  await db.schema.createIndex('shares_by_time').on('shares').columns(['created_at', 'id']).execute()
  await db.schema.createIndex('shares_usage').on('shares').columns(['project_id', 'size_gib']).execute()
  // File handles carry it: one number is one share, for as long as it lives.
  await db.schema
    .createIndex('shares_by_export')
    .unique()
    .on('shares')
    .columns(['cluster', 'export_id'])
    .execute()
}

async function makeRules(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('share_access_rules')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('share_id', 'text', (c) => c.notNull().references('shares.id').onDelete('cascade'))
    .addColumn('access_type', 'text', (c) => c.notNull())
    .addColumn('access_to', 'text', (c) => c.notNull())
    .addColumn('access_level', 'text', (c) => c.notNull())
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('metadata', 'text', (c) => c.notNull().defaultTo('{}'))
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text')
    .execute()
  await db.schema
    .createIndex('share_access_rules_by_share')
    .unique()
    .on('share_access_rules')
    .columns(['share_id', 'access_type', 'access_to'])
    .execute()
}

async function makeTypes(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('share_types')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('name', 'text', (c) => c.notNull().unique())
    .addColumn('description', 'text')
    .addColumn('is_public', 'integer', (c) => c.notNull())
    .addColumn('is_default', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('extra_specs', 'text', (c) => c.notNull())
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text')
    .execute()
  await db.schema
    .createTable('share_type_access')
    .addColumn('share_type_id', 'text', (c) => c.notNull().references('share_types.id').onDelete('cascade'))
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('share_type_access_pk', ['share_type_id', 'project_id'])
    .execute()
}

async function makeQuotas(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('share_quotas')
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addColumn('scope', 'text', (c) => c.notNull().defaultTo(''))
    .addColumn('resource', 'text', (c) => c.notNull())
    .addColumn('limit', 'integer', (c) => c.notNull())
    .addPrimaryKeyConstraint('share_quotas_pk', ['project_id', 'scope', 'resource'])
    .execute()
  await db.schema
    .createTable('share_messages')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addColumn('request_id', 'text')
    .addColumn('resource_type', 'text', (c) => c.notNull())
    .addColumn('resource_id', 'text')
    .addColumn('action_id', 'text', (c) => c.notNull())
    .addColumn('detail_id', 'text', (c) => c.notNull())
    .addColumn('user_message', 'text', (c) => c.notNull())
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('expires_at', 'text', (c) => c.notNull())
    .execute()
  await db.schema
    .createIndex('share_messages_by_project')
    .on('share_messages')
    .columns(['project_id', 'created_at', 'id'])
    .execute()
  await db.schema
    .createTable('share_services')
    .addColumn('backend', 'text', (c) => c.primaryKey())
    .addColumn('disabled', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('disabled_reason', 'text')
    .addColumn('updated_at', 'text')
    .execute()
}
