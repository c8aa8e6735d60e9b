import type { Kysely } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await createTypes(db)
  await createQuotas(db)

  await db.schema
    .createTable('block_services')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('binary', 'text', (c) => c.notNull())
    .addColumn('host', 'text', (c) => c.notNull())
    .addColumn('disabled', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('disabled_reason', 'text')
    .addColumn('frozen', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('updated_at', 'text', (c) => c.notNull())
    .addUniqueConstraint('block_services_host', ['binary', 'host'])
    .execute()

  await db.schema
    .createTable('volume_messages')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addColumn('request_id', 'text', (c) => c.notNull())
    .addColumn('volume_id', 'text', (c) => c.notNull())
    .addColumn('level', 'text', (c) => c.notNull())
    .addColumn('event_id', 'text', (c) => c.notNull())
    .addColumn('text', 'text', (c) => c.notNull())
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('expires_at', 'text', (c) => c.notNull())
    .execute()
  await db.schema
    .createIndex('volume_messages_by_project')
    .on('volume_messages')
    .columns(['project_id', 'created_at', 'id'])
    .execute()
  await createVolumeIndexes(db)
}

async function createTypes(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('volume_types')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('name', 'text', (c) => c.notNull().unique())
    .addColumn('description', 'text')
    .addColumn('is_public', 'integer', (c) => c.notNull().defaultTo(1))
    .addColumn('extra_specs', 'text', (c) => c.notNull().defaultTo('{}'))
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text')
    .execute()
  await db.schema
    .createTable('volume_type_access')
    .addColumn('volume_type_id', 'text', (c) => c.notNull().references('volume_types.id').onDelete('cascade'))
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('volume_type_access_pk', ['volume_type_id', 'project_id'])
    .execute()
}

async function createQuotas(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('block_quotas')
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addColumn('resource', 'text', (c) => c.notNull())
    .addColumn('hard_limit', 'integer', (c) => c.notNull())
    .addPrimaryKeyConstraint('block_quotas_pk', ['project_id', 'resource'])
    .execute()
  await db.schema
    .createTable('block_quota_classes')
    .addColumn('class_name', 'text', (c) => c.notNull())
    .addColumn('resource', 'text', (c) => c.notNull())
    .addColumn('hard_limit', 'integer', (c) => c.notNull())
    .addPrimaryKeyConstraint('block_quota_classes_pk', ['class_name', 'resource'])
    .execute()
  await db.schema
    .createTable('block_quota_reservations')
    .addColumn('volume_id', 'text', (c) => c.primaryKey().references('volumes.id').onDelete('cascade'))
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addColumn('gigabytes', 'integer', (c) => c.notNull())
    .execute()
  await db.schema
    .createIndex('block_quota_reservations_by_project')
    .on('block_quota_reservations')
    .columns(['project_id'])
    .execute()
}

/** Sums for quotas and pools are read from an index alone; lists by status, name or pool in an index's order. */
async function createVolumeIndexes(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createIndex('volumes_usage')
    .on('volumes')
    .columns(['project_id', 'volume_type_id', 'size_gib'])
    .execute()
  await db.schema
    .createIndex('volumes_by_status')
    .on('volumes')
    .columns(['status', 'created_at', 'id'])
    .execute()
  await db.schema
    .createIndex('volumes_by_project_name')
    .on('volumes')
    .columns(['project_id', 'name', 'created_at', 'id'])
    .execute()
  await db.schema
    .createIndex('volumes_by_pool')
    .on('volumes')
    .columns(['flexvol_id', 'created_at', 'id'])
    .execute()
  await db.schema
    .createIndex('copies_provisioned')
    .on('copies')
    .columns(['flexvol_id', 'state', 'size_bytes', 'reserved_bytes'])
    .execute()
}
