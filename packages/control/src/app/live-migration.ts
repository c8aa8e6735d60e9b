import { DomainError, isDomainError, messageOf } from '@volant/contract'
import { LiveMigrationRefused } from '../domain/live-migration.ts'
import { isInTheWay } from '../domain/giving-way.ts'
import type { Principal } from '../domain/principal.ts'
import type { ServerMigration } from '../domain/server-migration.ts'
import { movableInstead, requireState, requireUnlocked, type Server } from '../domain/server.ts'
import { isAdmin } from '../domain/principal.ts'
import type { Topology } from '../domain/topology.ts'
import type { Attachment } from '../domain/volume.ts'
import { inDeviceOrder } from '../operations/guest.ts'
import { liveMigrateServer, type LiveMigrateServerInput } from '../operations/live-migrate-server.ts'
import { guestSourceOf, noValidHost, refusalAt } from '../operations/live-migration-destination.ts'
import type { Agents } from '../ports/agents.ts'
import type { Clock } from '../ports/clock.ts'
import type { Destinations } from '../ports/destinations.ts'
import type { LiveMigrationRequest, LiveMigrations } from '../ports/live-migrations.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords } from '../ports/records.ts'
import type { ServerMigrationRecords } from '../ports/server-migrations.ts'
import type { InstanceActionRecords, ServerRecords } from '../ports/servers.ts'
import type { ComputeServices } from './compute-service.ts'
import { administeredServer } from './server-access.ts'

/** Live migration as the Compute API has it; returns when the operation is recorded. */
export interface ServerLiveMigrations extends LiveMigrations {
  /** `force`: of old clients, who mean that nothing is checked; everything is. */
  migrateLive(
    principal: Principal,
    serverId: string,
    request: { host: string | null; blockMigration: boolean | 'auto'; force: boolean },
    requestId: string,
  ): Promise<void>
  /** `queued`: also one that has not begun to copy. */
  abort(
    principal: Principal,
    which: { serverId: string; number: number; queued: boolean },
    requestId: string,
  ): Promise<void>
  /** The guest stands still from now on until what is left of its memory is copied. */
  forceComplete(
    principal: Principal,
    which: { serverId: string; number: number },
    requestId: string,
  ): Promise<void>
}

interface Sources {
  servers: Pick<ServerRecords, 'find' | 'updateIf'>
  attachments: Pick<AttachmentRecords, 'ofServer'>
  actions: Pick<InstanceActionRecords, 'create' | 'finish'>
  serverMigrations: Pick<ServerMigrationRecords, 'findByNumber' | 'update'>
  destinations: Pick<Destinations, 'candidates'>
  engine: Pick<OperationEngine, 'start' | 'cancel' | 'holderOf'>
  agents: Pick<Agents, 'compute'>
  topology: Topology
  clock: Clock
  services: Pick<ComputeServices, 'ofHost'>
}

type Wish = Pick<LiveMigrationRequest, 'serverId' | 'host' | 'except' | 'among'>

const policyOf = (rule: string): string => `os_compute_api:${rule}`

export function createLiveMigrations(sources: Sources): ServerLiveMigrations {
  const { servers, actions, serverMigrations, engine, clock } = sources

  const start = async (request: LiveMigrationRequest): Promise<{ operationId: string }> => {
    const server = await movable(sources, request)
    return begin(sources, server, request)
  }

  /** The migration, where it is in a state in which it can be steered. */
  const steerable = async (
    principal: Principal,
    { serverId, number }: { serverId: string; number: number },
    how: { rule: string; action: string; method: string; statuses: readonly string[] },
  ): Promise<ServerMigration> => {
    const server = await administeredServer(servers, principal, serverId, policyOf(how.rule))
    requireUnlocked(server, { isAdmin: isAdmin(principal) })
    requireState(server, how.action, [server.vmState], ['migrating'])
    const migration = await serverMigrations.findByNumber(serverId, number)
    if (migration === undefined || migration.kind !== 'live-migration') {
      throw new DomainError('notFound', `Migration ${number} not found for instance ${serverId}`)
    }
    if (how.statuses.includes(migration.status)) return migration
    throw wrongState(migration, how.method)
  }

  const noteAction = async (
    principal: Principal,
    migration: ServerMigration,
    action: string,
    requestId: string,
  ): Promise<void> => {
    const at = clock.now().toISOString()
    const { serverId } = migration
    await actions.create({
      ...actionRow({ serverId, requestId, action, at, host: migration.sourceHost }),
      userId: principal.userId,
      projectId: principal.projectId ?? migration.projectId,
    })
    await actions.finish({ serverId, requestId }, { finishedAt: at, result: 'Success', message: null })
  }

  return {
    start,
    async check(request) {
      try {
        await movable(sources, request)
        return null
      } catch (error) {
        if (error instanceof LiveMigrationRefused) return { reason: error.message, passing: error.passing }
        throw error
      }
    },
    async migrateLive(principal, serverId, { host, blockMigration, force }, requestId) {
      const rule = policyOf('os-migrate-server:migrate_live')
      const server = await administeredServer(servers, principal, serverId, rule)
      requireUnlocked(server, { isAdmin: isAdmin(principal) })
      if (force && host === null) {
        throw new DomainError('invalid', "Can't force to a non-provided destination")
      }
      const by = { userId: principal.userId, projectId: principal.projectId ?? server.projectId, requestId }
      const request = { serverId, by, ...(host !== null && { host }) }
      const found = await movable(sources, request)
      if (blockMigration === true) {
        throw new DomainError(
          'invalid',
          `Instance ${serverId} is not on local storage: Block migration can not be used with shared storage. ` +
            'Its volumes stay where they are: ask with block_migration "auto" or false.',
        )
      }
      await begin(sources, found, request)
    },
    async abort(principal, { queued, ...which }, requestId) {
      const migration = await steerable(principal, which, {
        rule: 'servers:migrations:delete',
        action: 'abort live migration',
        method: 'abort live migration',
        statuses: queued ? ['running', 'queued', 'preparing'] : ['running'],
      })
      try {
        await engine.cancel(migration.id)
      } catch (error) {
        if (!isDomainError(error) || error.code !== 'conflict') throw error
        throw wrongState(
          migration,
          'abort live migration',
          ' The guest is at its destination already, or about to be.',
        )
      }
      await noteAction(principal, migration, 'live_migration_cancel', requestId)
    },
    async forceComplete(principal, which, requestId) {
      const migration = await steerable(principal, which, {
        rule: 'servers:migrations:force_complete',
        action: 'force_complete',
        method: 'force complete',
        statuses: ['running'],
      })
      await serverMigrations.update(migration.id, { forced: true })
      await noteAction(principal, migration, 'live_migration_force_complete', requestId)
    },
  }
}

const wrongState = (migration: ServerMigration, method: string, more = ''): DomainError =>
  new DomainError(
    'invalid',
    `Migration ${migration.number} state of instance ${migration.serverId} is ${migration.status}. ` +
      `Cannot ${method} while the migration is in this state.${more}`,
  )

/** The server, if it can be live-migrated now as wished. Throws `LiveMigrationRefused`; changes nothing. */
async function movable(sources: Sources, wish: Wish): Promise<Server & { host: string }> {
  const server = await sources.servers.find(wish.serverId)
  if (server === undefined) {
    throw new LiveMigrationRefused('notFound', `Instance ${wish.serverId} could not be found.`, false)
  }
  requireMovableState(server)
  if (server.host === null) {
    throw new LiveMigrationRefused('conflict', `Instance ${server.id} has no compute host.`, false)
  }
  if (server.boot.rootDisk !== undefined) {
    throw new LiveMigrationRefused(
      'invalid',
      `Instance ${server.id} is not on shared storage: Shared storage live-migration requires either shared storage ` +
        `or boot-from-volume with no local disks. Its root disk is a file on its compute host. ${movableInstead}`,
      false,
    )
  }
  await requireSourceUp(sources, server.host)
  requireOtherHost(sources.topology, server, wish.host)
  await requireFree(sources, server)
  await requireDestination(sources, server, wish)
  return { ...server, host: server.host }
}

/** Of a host that is given up nothing is believed, also where its agent answers: its servers are evacuated. */
async function requireSourceUp({ services }: Pick<Sources, 'services'>, host: string): Promise<void> {
  if ((await services.ofHost(host))?.up === true) return
  throw new LiveMigrationRefused(
    'invalid',
    `Compute service of ${host} is unavailable at this time. Its servers can be evacuated, not migrated.`,
    true,
  )
}

function requireMovableState(server: Server): void {
  try {
    requireState(server, 'os-migrateLive', ['active', 'paused'])
  } catch (error) {
    const isBusy = server.taskState !== null || server.vmState === 'building'
    throw new LiveMigrationRefused('conflict', messageOf(error), isBusy)
  }
}

function requireOtherHost(topology: Topology, server: Server, host: string | undefined): void {
  if (host === undefined) return
  if (host === server.host) {
    const text = `Unable to migrate instance (${server.id}) to current host (${host}).`
    throw new LiveMigrationRefused('invalid', text, false)
  }
  if (topology.computeHosts.some(({ name }) => name === host)) return
  throw new LiveMigrationRefused('invalid', `Compute host ${host} could not be found.`, false)
}

/** Nobody else works on the server or on one of its volumes. */
async function requireFree({ engine, attachments }: Sources, server: Server): Promise<void> {
  const rows = await attachments.ofServer(server.id)
  requireAttached(server, rows)
  const keys = [`server/${server.id}`, ...rows.map(({ volumeId }) => `volume/${volumeId}`)]
  for (const key of keys) {
    const holder = await engine.holderOf(key)
    if (!isInTheWay(holder)) continue
    const [kind, id] = key.split('/') as [string, string]
    const what = kind === 'server' ? `Instance ${id}` : `Volume ${id} of instance ${server.id}`
    const text =
      `${what} is held by operation ${holder.id} (${holder.kind}): a server and its volumes are not migrated at the ` +
      `same time. Wait until it has ended, or cancel it: volant operations cancel ${holder.id}`
    throw new LiveMigrationRefused('conflict', text, true)
  }
}

function requireAttached(server: Server, attachments: readonly Attachment[]): void {
  const changing = attachments.find(({ status }) => status !== 'attached')
  if (changing === undefined) return
  const text = `Volume ${changing.volumeId} of instance ${server.id} is ${changing.status}: try again when that has ended.`
  throw new LiveMigrationRefused('conflict', text, true)
}

/** There is a host with room on which the guest can go on. */
async function requireDestination(sources: Sources, server: Server, wish: Wish): Promise<void> {
  const candidates = await sources.destinations.candidates(wish)
  const asked = candidates.filter(({ host }) => wish.host === undefined || host === wish.host)
  const full = asked.filter(({ refusal }) => refusal !== null)
  const open = asked
    .filter(({ refusal }) => refusal === null)
    .toSorted((a, b) => b.freeMemoryMib - a.freeMemoryMib)
  const others = full.map(({ host, refusal }) => `${host} ${String(refusal)}.`).join(' ')
  if (open.length === 0) throw noValidHost([], others === '' ? 'There is no other compute host.' : others)
  const source = await sourceOf(sources, server)
  const refused: { host: string; reason: string; passing: boolean }[] = []
  for (const { host } of open) {
    const refusal = await refusalAt(sources, server, source, host)
    if (refusal === undefined) return
    refused.push({ host, ...refusal })
  }
  throw noValidHost(refused, others)
}

async function sourceOf(sources: Sources, server: Server) {
  try {
    return await guestSourceOf(sources, server)
  } catch (error) {
    if (!isDomainError(error)) throw error
    if (error.code === 'unavailable') {
      const text = `Compute service of ${server.host} is unavailable at this time: ${error.message}`
      throw new LiveMigrationRefused('invalid', text, true)
    }
    if (error.code !== 'conflict' && error.code !== 'notFound') throw error
    throw new LiveMigrationRefused('conflict', error.message, true)
  }
}

/** Claims the server and begins; gives the claim back where that is refused. */
async function begin(
  sources: Sources,
  server: Server & { host: string },
  request: LiveMigrationRequest,
): Promise<{ operationId: string }> {
  const { servers, actions, engine, clock } = sources
  const { by } = request
  const serverId = server.id
  const expected = { vmStates: [server.vmState], taskStates: [null] }
  if (!(await servers.updateIf(serverId, expected, { taskState: 'migrating' }))) {
    throw new LiveMigrationRefused(
      'conflict',
      `Cannot 'os-migrateLive' instance ${serverId}: another request has just changed its state.`,
      true,
    )
  }
  const { requestId } = by
  const at = clock.now().toISOString()
  try {
    // The row is there before the operation, which ends it.
    await actions.create({
      ...actionRow({ serverId, requestId, action: 'live-migration', at, host: server.host }),
      userId: by.userId,
      projectId: by.projectId,
    })
    // Read after the claim, from which on nothing is attached or detached.
    const attachments = await sources.attachments.ofServer(serverId)
    requireAttached(server, attachments)
    const input = inputOf(server, attachments, request)
    const parent = request.parent === undefined ? {} : { parent: request.parent }
    const { id } = await engine.start(liveMigrateServer, input, parent)
    return { operationId: id }
  } catch (error) {
    const message = messageOf(error)
    await actions.finish(
      { serverId, requestId },
      { finishedAt: clock.now().toISOString(), result: 'Error', message },
    )
    await servers.updateIf(serverId, { taskStates: ['migrating'] }, { taskState: null })
    if (isDomainError(error) && error.code === 'conflict') {
      throw new LiveMigrationRefused('conflict', message, true)
    }
    throw error
  }
}

function inputOf(
  server: Server & { host: string },
  attachments: readonly Attachment[],
  { by, host, except, among }: LiveMigrationRequest,
): LiveMigrateServerInput {
  return {
    serverId: server.id,
    requestId: by.requestId,
    source: server.host,
    host: host ?? null,
    except: except ?? [],
    among: among ?? null,
    disks: inDeviceOrder(attachments).map(({ id, volumeId, headId, bootIndex }) => ({
      attachmentId: id,
      volumeId,
      fromHeadId: headId,
      toHeadId: crypto.randomUUID(),
      boot: bootIndex === 0,
    })),
    wasPaused: server.vmState === 'paused',
    by: { userId: by.userId, projectId: by.projectId },
  }
}

const actionRow = (given: {
  serverId: string
  requestId: string
  action: string
  at: string
  host: string
}) => ({
  requestId: given.requestId,
  serverId: given.serverId,
  action: given.action,
  operationId: null,
  startedAt: given.at,
  finishedAt: null,
  result: null,
  message: null,
  host: given.host,
})
