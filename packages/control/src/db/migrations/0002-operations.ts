import type { Kysely } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('operations')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('kind', 'text', (c) => c.notNull())
    .addColumn('version', 'integer', (c) => c.notNull())
    .addColumn('steps', 'text', (c) => c.notNull())
    .addColumn('keys', 'text', (c) => c.notNull())
    .addColumn('input', 'text', (c) => c.notNull())
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('step', 'text')
    .addColumn('cancellable', 'integer', (c) => c.notNull())
    .addColumn('failure', 'text')
    .addColumn('progress', 'text')
    .addColumn('paused', 'integer', (c) => c.notNull())
    .addColumn('cancel_requested', 'integer', (c) => c.notNull())
    .addColumn('rate', 'bigint')
    .addColumn('control_revision', 'integer', (c) => c.notNull())
    .addColumn('owner', 'text', (c) => c.notNull())
    .addColumn('fence', 'integer', (c) => c.notNull())
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text', (c) => c.notNull())
    .addColumn('ended_at', 'text')
    .execute()
  await db.schema.createIndex('operations_by_time').on('operations').columns(['created_at', 'id']).execute()
  // Finds at a start what has not ended (null), and later what ended long ago.
  await db.schema.createIndex('operations_by_end').on('operations').columns(['ended_at']).execute()

  await db.schema
    .createTable('operation_log')
    .addColumn('operation_id', 'text', (c) => c.notNull().references('operations.id').onDelete('cascade'))
    .addColumn('seq', 'integer', (c) => c.notNull())
    .addColumn('at', 'text', (c) => c.notNull())
    .addColumn('event', 'text', (c) => c.notNull())
    .addColumn('step', 'text')
    .addColumn('data', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('operation_log_pk', ['operation_id', 'seq'])
    .execute()

  await db.schema
    .createTable('operation_holds')
    .addColumn('key', 'text', (c) => c.primaryKey())
    .addColumn('operation_id', 'text', (c) => c.notNull().references('operations.id').onDelete('cascade'))
    .execute()
  await db.schema
    .createIndex('operation_holds_by_operation')
    .on('operation_holds')
    .columns(['operation_id'])
    .execute()

  await db.schema
    .createTable('operation_keys')
    .addColumn('key', 'text', (c) => c.notNull())
    .addColumn('operation_id', 'text', (c) => c.notNull().references('operations.id').onDelete('cascade'))
    .addPrimaryKeyConstraint('operation_keys_pk', ['key', 'operation_id'])
    .execute()
  await db.schema
    .createIndex('operation_keys_by_operation')
    .on('operation_keys')
    .columns(['operation_id'])
    .execute()

  await db.schema
    .createTable('operation_fence')
    .addColumn('id', 'integer', (c) => c.primaryKey())
    .addColumn('fence', 'integer', (c) => c.notNull())
    .addColumn('owner', 'text', (c) => c.notNull())
    .addColumn('acquired_at', 'text', (c) => c.notNull())
    .addColumn('alive_at', 'text', (c) => c.notNull())
    .execute()
}
