import { sql, type Kysely, type Updateable } from 'kysely'
import { DomainError } from '@volant/contract'
import type { Server } from '../../domain/server.ts'
import type { Attachment } from '../../domain/volume.ts'
import type { ServerRecords } from '../../ports/servers.ts'
import type { Database } from '../schema.ts'
import type { ServerTable } from '../tables/compute.ts'
import { toAttachment } from './attachment.ts'
import { listServers } from './server-list.ts'
import { toColumns, toServer } from './server-row.ts'

export function serverRecords(db: Kysely<Database>): ServerRecords {
  const select = () => db.selectFrom('servers').selectAll()
  const find = async (id: string): Promise<Server | undefined> => {
    const row = await select().where('id', '=', id).where('deleted_at', 'is', null).executeTakeFirst()
    return row && toServer(row)
  }
  const touched = (fields: Partial<Server>): Updateable<ServerTable> => ({
    updated_at: new Date().toISOString(),
    ...toColumns(fields),
  })
  return {
    find,
    async get(id) {
      const server = await find(id)
      if (server === undefined) throw new DomainError('notFound', `Instance ${id} could not be found.`)
      return server
    },
    list: (filter, page) => listServers(db, filter, page),
    create: (servers, groupId) => create(db, servers, groupId),
    async update(id, fields) {
      await db.updateTable('servers').set(touched(fields)).where('id', '=', id).execute()
    },
    async updateIf(id, expected, fields) {
      let query = db
        .updateTable('servers')
        .set(touched(fields))
        .where('id', '=', id)
        .where('deleted_at', 'is', null)
      const { vmStates, taskStates } = expected
      if (vmStates !== undefined) query = query.where('vm_state', 'in', [...vmStates])
      if (taskStates !== undefined) {
        // coalesce: a null is in no list.
        query = query.where(
          sql<string>`coalesce(task_state, '')`,
          'in',
          taskStates.map((state) => state ?? ''),
        )
      }
      const result = await query.executeTakeFirst()
      return result.numUpdatedRows > 0n
    },
    async attachmentsOf(serverIds) {
      const found = new Map<string, Attachment[]>()
      if (serverIds.length === 0) return found
      const rows = await db
        .selectFrom('attachments')
        .selectAll()
        .where('server_id', 'in', [...serverIds])
        .orderBy('created_at')
        .orderBy('mountpoint')
        .execute()
      for (const row of rows) {
        const serverId = row.server_id ?? ''
        found.set(serverId, [...(found.get(serverId) ?? []), toAttachment(row)])
      }
      return found
    },
    async onHost(host) {
      let query = select().where('deleted_at', 'is', null)
      if (host !== undefined) query = query.where('host', '=', host)
      return (await query.orderBy('number').execute()).map(toServer)
    },
    usageByHost: () => usageByHost(db),
    usageOfProject: (projectId) => usageOfProject(db, projectId),
  }
}

function create(
  db: Kysely<Database>,
  servers: Omit<Server, 'number'>[],
  groupId: string | undefined,
): Promise<Server[]> {
  return db.transaction().execute(async (trx) => {
    const last = await trx
      .selectFrom('servers')
      .select((eb) => eb.fn.max('number').as('number'))
      .executeTakeFirst()
    const first = Number(last?.number ?? 0) + 1
    const numbered = servers.map((server, index) => ({ ...server, number: first + index }))
    for (const server of numbered) {
      await trx
        .insertInto('servers')
        .values(toColumns(server) as ServerTable)
        .execute()
    }
    if (groupId !== undefined) await join(trx, groupId, numbered)
    return numbered
  })
}

async function join(
  trx: Kysely<Database>,
  groupId: string,
  servers: readonly Pick<Server, 'id'>[],
): Promise<void> {
  const group = await trx
    .selectFrom('server_groups')
    .select('id')
    .where('id', '=', groupId)
    .executeTakeFirst()
  if (group === undefined) throw new DomainError('invalid', `Instance group ${groupId} could not be found.`)
  await trx
    .insertInto('server_group_members')
    .values(servers.map(({ id }) => ({ server_id: id, group_id: groupId })))
    .execute()
}

async function usageByHost(db: Kysely<Database>): ReturnType<ServerRecords['usageByHost']> {
  const rows = await db
    .selectFrom('servers')
    .select((eb) => [
      'host',
      eb.fn.countAll<number>().as('servers'),
      eb.fn.sum<number>('vcpus').as('vcpus'),
      eb.fn.sum<number>('memory_mib').as('memory_mib'),
      eb.fn.sum<number>('disk_gib').as('disk_gib'),
    ])
    .where('deleted_at', 'is', null)
    .where('host', 'is not', null)
    .groupBy('host')
    .execute()
  return new Map(
    rows.map((row) => [
      row.host as string,
      {
        servers: Number(row.servers),
        vcpus: Number(row.vcpus),
        memoryMib: Number(row.memory_mib),
        diskGib: Number(row.disk_gib),
      },
    ]),
  )
}

async function usageOfProject(
  db: Kysely<Database>,
  projectId: string,
): ReturnType<ServerRecords['usageOfProject']> {
  const row = await db
    .selectFrom('servers')
    .select((eb) => [
      eb.fn.countAll<number>().as('instances'),
      eb.fn.sum<number>('vcpus').as('cores'),
      eb.fn.sum<number>('memory_mib').as('ram'),
    ])
    .where('deleted_at', 'is', null)
    .where('project_id', '=', projectId)
    .executeTakeFirst()
  return {
    instances: Number(row?.instances ?? 0),
    cores: Number(row?.cores ?? 0),
    ram: Number(row?.ram ?? 0),
  }
}
