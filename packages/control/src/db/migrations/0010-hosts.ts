import { sql, type Kysely } from 'kysely'

/** Servers that go to other hosts: heads with ids of their own, migrations, groups, and what a drain took away. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('attachments')
    .addColumn('head_id', 'text', (c) => c.notNull().defaultTo(''))
    .execute()
  await sql`update attachments set head_id = id`.execute(db)
  await db.schema.createIndex('attachments_by_head').unique().on('attachments').columns(['head_id']).execute()
  // There was one zone, and it was written here whether it had been asked for or not: nobody is bound to it.
  await sql`update servers set availability_zone = ''`.execute(db)
  await serverMigrations(db)
  await fencedHeads(db)
  await serverGroups(db)
  await db.schema
    .createTable('drained_servers')
    .addColumn('server_id', 'text', (c) => c.primaryKey().references('servers.id'))
    .addColumn('home', 'text', (c) => c.notNull())
    .addColumn('how', 'text', (c) => c.notNull())
    .addColumn('was_running', 'integer', (c) => c.notNull())
    .addColumn('brought_to', 'text', (c) => c.notNull())
    .addColumn('operation_id', 'text', (c) => c.notNull())
    .addColumn('created_at', 'text', (c) => c.notNull())
    .execute()
  await db.schema.createIndex('drained_servers_by_home').on('drained_servers').columns(['home']).execute()
}

async function fencedHeads(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('fenced_heads')
    .addColumn('head_id', 'text', (c) => c.primaryKey())
    .addColumn('volume_id', 'text', (c) => c.notNull())
    .addColumn('server_id', 'text')
    .addColumn('host', 'text', (c) => c.notNull())
    .addColumn('fenced_at', 'text', (c) => c.notNull())
    .execute()
  await db.schema.createIndex('fenced_heads_by_host').on('fenced_heads').columns(['host']).execute()
}

async function serverMigrations(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('server_migrations')
    .addColumn('number', 'integer', (c) => c.primaryKey().autoIncrement())
    .addColumn('id', 'text', (c) => c.notNull().unique())
    .addColumn('server_id', 'text', (c) => c.notNull().references('servers.id'))
    .addColumn('kind', 'text', (c) => c.notNull())
    .addColumn('status', 'text', (c) => c.notNull())
    .addColumn('source_host', 'text', (c) => c.notNull())
    .addColumn('dest_host', 'text')
    .addColumn('old_flavor', 'text', (c) => c.notNull())
    .addColumn('new_flavor', 'text', (c) => c.notNull())
    .addColumn('heads', 'text', (c) => c.notNull())
    .addColumn('was_running', 'integer', (c) => c.notNull())
    .addColumn('vcpus', 'integer', (c) => c.notNull())
    .addColumn('memory_mib', 'integer', (c) => c.notNull())
    .addColumn('reserves', 'text')
    .addColumn('operation_id', 'text')
    .addColumn('user_id', 'text', (c) => c.notNull())
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addColumn('memory_total', 'integer')
    .addColumn('memory_processed', 'integer')
    .addColumn('memory_remaining', 'integer')
    .addColumn('downtime_ms', 'real')
    .addColumn('forced', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('message', 'text')
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text', (c) => c.notNull())
    .execute()
  await db.schema
    .createIndex('server_migrations_by_server')
    .on('server_migrations')
    .columns(['server_id', 'number'])
    .execute()
  await db.schema
    .createIndex('server_migrations_reserving')
    .on('server_migrations')
    .columns(['reserves'])
    .where('reserves', 'is not', null)
    .execute()
}

async function serverGroups(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('server_groups')
    .addColumn('number', 'integer', (c) => c.primaryKey().autoIncrement())
    .addColumn('id', 'text', (c) => c.notNull().unique())
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addColumn('user_id', 'text', (c) => c.notNull())
    .addColumn('name', 'text', (c) => c.notNull())
    .addColumn('policy', 'text', (c) => c.notNull())
    .addColumn('rules', 'text', (c) => c.notNull())
    .addColumn('created_at', 'text', (c) => c.notNull())
    .execute()
  await db.schema
    .createTable('server_group_members')
    .addColumn('server_id', 'text', (c) => c.primaryKey().references('servers.id'))
    .addColumn('group_id', 'text', (c) => c.notNull().references('server_groups.id').onDelete('cascade'))
    .execute()
  await db.schema
    .createIndex('server_group_members_by_group')
    .on('server_group_members')
    .columns(['group_id'])
    .execute()
}
