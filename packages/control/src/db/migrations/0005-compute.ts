import type { Kysely } from 'kysely'
import type { ComputeTables } from '../tables/compute.ts'

export async function up(db: Kysely<unknown>): Promise<void> {
  await createServers(db)
  await createFlavors(db)
  await db.schema
    .createTable('keypairs')
    .addColumn('user_id', 'text', (c) => c.notNull())
    .addColumn('name', 'text', (c) => c.notNull())
    .addColumn('number', 'integer', (c) => c.notNull())
    .addColumn('type', 'text', (c) => c.notNull())
    .addColumn('public_key', 'text', (c) => c.notNull())
    .addColumn('fingerprint', 'text', (c) => c.notNull())
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('keypairs_key', ['user_id', 'name'])
    .execute()
  await db.schema
    .createTable('compute_services')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('number', 'integer', (c) => c.notNull().unique())
    .addColumn('host', 'text', (c) => c.notNull())
    .addColumn('binary', 'text', (c) => c.notNull())
    .addColumn('hypervisor_id', 'text', (c) => c.notNull())
    .addColumn('disabled', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('disabled_reason', 'text')
    .addColumn('forced_down', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text', (c) => c.notNull())
    .addUniqueConstraint('compute_services_host', ['host', 'binary'])
    .execute()
  await db.schema
    .createTable('compute_quotas')
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addColumn('resource', 'text', (c) => c.notNull())
    .addColumn('limit', 'integer', (c) => c.notNull())
    .addPrimaryKeyConstraint('compute_quotas_key', ['project_id', 'resource'])
    .execute()
  await createInstanceActions(db)
}

async function createServers(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('servers')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('number', 'integer', (c) => c.notNull().unique())
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addColumn('user_id', 'text', (c) => c.notNull())
    .addColumn('name', 'text', (c) => c.notNull())
    .addColumn('description', 'text')
    .addColumn('hostname', 'text', (c) => c.notNull())
    .addColumn('vm_state', 'text', (c) => c.notNull())
    .addColumn('task_state', 'text')
    .addColumn('power_state', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('fault', 'text')
    .addColumn('host', 'text')
    .addColumn('availability_zone', 'text', (c) => c.notNull())
    .addColumn('flavor_id', 'text', (c) => c.notNull())
    .addColumn('flavor', 'text', (c) => c.notNull())
    .addColumn('vcpus', 'integer', (c) => c.notNull())
    .addColumn('memory_mib', 'integer', (c) => c.notNull())
    .addColumn('disk_gib', 'integer', (c) => c.notNull())
    .addColumn('image_id', 'text')
    .addColumn('kernel_id', 'text')
    .addColumn('ramdisk_id', 'text')
    .addColumn('boot', 'text', (c) => c.notNull().defaultTo('{}'))
    .addColumn('key_name', 'text')
    .addColumn('user_data', 'text')
    .addColumn('config_drive', 'text', (c) => c.notNull().defaultTo(''))
    .addColumn('metadata', 'text', (c) => c.notNull().defaultTo('{}'))
    .addColumn('tags', 'text', (c) => c.notNull().defaultTo('[]'))
    .addColumn('nics', 'text', (c) => c.notNull().defaultTo('[]'))
    .addColumn('security_groups', 'text', (c) => c.notNull().defaultTo('[]'))
    .addColumn('trusted_certs', 'text')
    .addColumn('root_device_name', 'text', (c) => c.notNull())
    .addColumn('reservation_id', 'text', (c) => c.notNull())
    .addColumn('launch_index', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('locked_by', 'text')
    .addColumn('locked_reason', 'text')
    .addColumn('launched_at', 'text')
    .addColumn('terminated_at', 'text')
    .addColumn('deleted_at', 'text')
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text', (c) => c.notNull())
    .execute()
  await db.schema
    .createIndex('servers_by_project')
    .on('servers')
    .columns(['project_id', 'created_at', 'id'])
    .execute()
  await db.schema.createIndex('servers_by_time').on('servers').columns(['created_at', 'id']).execute()
  await db.schema.createIndex('servers_by_host').on('servers').columns(['host', 'deleted_at']).execute()
}

async function createFlavors(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('flavors')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('name', 'text', (c) => c.notNull().unique())
    .addColumn('description', 'text')
    .addColumn('vcpus', 'integer', (c) => c.notNull())
    .addColumn('memory_mib', 'integer', (c) => c.notNull())
    .addColumn('disk_gib', 'integer', (c) => c.notNull())
    .addColumn('ephemeral_gib', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('swap_mib', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('rxtx_factor', 'real', (c) => c.notNull().defaultTo(1))
    .addColumn('is_public', 'integer', (c) => c.notNull().defaultTo(1))
    .addColumn('disabled', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('extra_specs', 'text', (c) => c.notNull().defaultTo('{}'))
    .addColumn('created_at', 'text', (c) => c.notNull())
    .execute()
  await db.schema
    .createTable('flavor_access')
    .addColumn('flavor_id', 'text', (c) => c.notNull().references('flavors.id').onDelete('cascade'))
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('flavor_access_key', ['flavor_id', 'project_id'])
    .execute()
  // The flavors that every cloud used to have, with the memory of small guests. An administrator may delete them.
  const flavors = [
    { id: '1', name: 'm1.tiny', vcpus: 1, memory_mib: 512, disk_gib: 1 },
    { id: '2', name: 'm1.small', vcpus: 1, memory_mib: 2048, disk_gib: 20 },
    { id: '3', name: 'm1.medium', vcpus: 2, memory_mib: 4096, disk_gib: 40 },
    { id: '4', name: 'm1.large', vcpus: 4, memory_mib: 8192, disk_gib: 80 },
    { id: '5', name: 'm1.xlarge', vcpus: 8, memory_mib: 16384, disk_gib: 160 },
    { id: '6', name: 'm1.micro', vcpus: 1, memory_mib: 128, disk_gib: 1 },
  ]
  const created_at = new Date().toISOString()
  await (db as Kysely<ComputeTables>)
    .insertInto('flavors')
    .values(
      flavors.map((flavor) => ({
        ...flavor,
        description: null,
        ephemeral_gib: 0,
        swap_mib: 0,
        rxtx_factor: 1,
        is_public: 1,
        disabled: 0,
        extra_specs: '{}',
        created_at,
      })),
    )
    .execute()
}

async function createInstanceActions(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('instance_actions')
    .addColumn('request_id', 'text', (c) => c.notNull())
    .addColumn('server_id', 'text', (c) => c.notNull())
    .addColumn('action', 'text', (c) => c.notNull())
    .addColumn('user_id', 'text', (c) => c.notNull())
    .addColumn('project_id', 'text', (c) => c.notNull())
    .addColumn('operation_id', 'text')
    .addColumn('started_at', 'text', (c) => c.notNull())
    .addColumn('finished_at', 'text')
    .addColumn('result', 'text')
    .addColumn('message', 'text')
    .addColumn('host', 'text')
    .addPrimaryKeyConstraint('instance_actions_key', ['server_id', 'request_id'])
    .execute()
}
