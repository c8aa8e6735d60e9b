import { DomainError, messageOf } from '@volant/contract'
import { isAdmin, type Principal } from '../domain/principal.ts'
import {
  movableInstead,
  requireState,
  requireUnlocked,
  type Server,
  type TaskState,
  type VmState,
} from '../domain/server.ts'
import type { Topology } from '../domain/topology.ts'
import { evacuateServer } from '../operations/evacuate-server.ts'
import type { Clock } from '../ports/clock.ts'
import type { Destinations } from '../ports/destinations.ts'
import type { EvacuationRequest, Evacuations } from '../ports/evacuations.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { ServerMigrationRecords } from '../ports/server-migrations.ts'
import type { InstanceActionRecords, ServerRecords } from '../ports/servers.ts'
import type { ComputeServices } from './compute-service.ts'
import { administeredServer } from './server-access.ts'

/** As Nova's. A paused guest would lose the state that it was paused in. */
const evacuable: VmState[] = ['active', 'stopped', 'error']

/** What waits for a host that is down must not keep the server from being evacuated: only these tasks do. */
const inTheWay: (TaskState | null)[] = ['rebuilding', 'deleting']

/** How long what else works on the server and its volumes is waited for. Seconds. */
const patienceSeconds = 300

/** What the Compute API offers of it. */
export interface ServerEvacuations {
  /** Returns when the operation is recorded. `host` absent: the scheduler chooses. */
  evacuate(
    principal: Principal,
    serverId: string,
    how: { host?: string; staysStopped: boolean },
    requestId: string,
  ): Promise<void>
}

interface Options {
  servers: Pick<ServerRecords, 'find' | 'get' | 'updateIf'>
  services: Pick<ComputeServices, 'ofHost'>
  destinations: Pick<Destinations, 'candidates'>
  migrations: Pick<ServerMigrationRecords, 'create' | 'update'>
  actions: Pick<InstanceActionRecords, 'create' | 'finish'>
  engine: Pick<OperationEngine, 'start'>
  topology: Pick<Topology, 'computeHosts'>
  clock: Clock
}

export function createEvacuations(options: Options): Evacuations & ServerEvacuations {
  const evacuations = startable(options)
  return {
    ...evacuations,
    async evacuate(principal, serverId, { host, staysStopped }, requestId) {
      const policy = 'os_compute_api:os-evacuate'
      const server = await administeredServer(options.servers, principal, serverId, policy)
      requireUnlocked(server, { isAdmin: isAdmin(principal) })
      if (host !== undefined && !options.topology.computeHosts.some(({ name }) => name === host)) {
        throw new DomainError('notFound', `Compute host ${host} not found.`)
      }
      const by = {
        userId: principal.userId,
        projectId: principal.projectId ?? server.projectId,
        requestId,
      }
      await evacuations.start({ serverId, staysStopped, by, ...(host !== undefined && { host }) })
    },
  }
}

function startable(options: Options): Evacuations {
  return {
    require: async (request) => void (await required(options, request)),
    async start(request) {
      const { servers, migrations, actions, engine, clock } = options
      const { server, from } = await required(options, request)
      const { requestId, userId, projectId } = request.by
      const expected = { vmStates: [server.vmState], taskStates: [server.taskState] }
      if (!(await servers.updateIf(server.id, expected, { taskState: 'rebuilding', fault: null }))) {
        throw new DomainError(
          'conflict',
          `Cannot 'evacuate' instance ${server.id}: another request has just changed its state.`,
        )
      }
      const operationId = crypto.randomUUID()
      const at = clock.now().toISOString()
      const flavor = { ...server.flavor, id: server.flavorId }
      const row = { id: operationId, serverId: server.id, operationId, userId, projectId, createdAt: at }
      try {
        await migrations.create({
          ...{ ...row, kind: 'evacuation', status: 'accepted', message: null, updatedAt: at },
          ...{ sourceHost: from, destHost: request.host ?? null, reserves: null, heads: {} },
          ...{ oldFlavor: flavor, newFlavor: flavor, vcpus: flavor.vcpus, memoryMib: flavor.memoryMib },
          ...{ memoryTotal: null, memoryProcessed: null, memoryRemaining: null, downtimeMs: null },
        })
        await actions.create({
          ...{ requestId, serverId: server.id, action: 'evacuate', userId, projectId, operationId },
          ...{ startedAt: at, finishedAt: null, result: null, message: null, host: from },
        })
        const input = {
          ...{ serverId: server.id, requestId, from, to: request.host ?? null, patienceSeconds },
          ...{ staysStopped: request.staysStopped ?? false, migrationId: operationId },
        }
        const { parent } = request
        await engine.start(evacuateServer, input, {
          id: operationId,
          ...(parent !== undefined && { parent }),
        })
      } catch (error) {
        const finishedAt = clock.now().toISOString()
        const message = messageOf(error)
        await migrations.update(operationId, { status: 'failed', message })
        await actions.finish({ serverId: server.id, requestId }, { finishedAt, result: 'Error', message })
        const { taskState, fault } = server
        await servers.updateIf(server.id, { taskStates: ['rebuilding'] }, { taskState, fault })
        throw error
      }
      return { operationId }
    },
  }
}

/** The server and the host that it is on, where it may be evacuated. */
async function required(
  { servers, services, destinations }: Options,
  { serverId, host }: Pick<EvacuationRequest, 'serverId' | 'host'>,
): Promise<{ server: Server; from: string }> {
  const server = await servers.get(serverId)
  if (host !== undefined && host === server.host) {
    throw new DomainError('invalid', "The target host can't be the same one.")
  }
  requireState(server, 'evacuate', evacuable, inTheWay.includes(server.taskState) ? [] : [server.taskState])
  const from = server.host
  if (from === null) {
    throw new DomainError(
      'conflict',
      `Instance ${serverId} has no compute host: its build failed. Delete it.`,
    )
  }
  const service = await services.ofHost(from)
  if (service?.up === true) {
    throw new DomainError(
      'invalid',
      `Compute service of ${from} is still in use. To take it for down at once: nova service-force-down ${service.id}`,
    )
  }
  if (server.boot.rootDisk !== undefined) {
    throw new DomainError(
      'conflict',
      `Instance ${serverId} has a root disk of its own, which is on host ${from} and can't be reached while that is ` +
        `down. ${movableInstead}`,
    )
  }
  const candidates = await destinations.candidates({ serverId, ...(host !== undefined && { host }) })
  const asked = candidates.filter((one) => host === undefined || one.host === host)
  if (!asked.some(({ refusal }) => refusal === null)) {
    const reasons = asked.map((one) => `${one.host} ${String(one.refusal)}.`)
    throw new DomainError('invalid', `No valid host was found. ${reasons.join(' ')}`.trim())
  }
  return { server, from }
}
