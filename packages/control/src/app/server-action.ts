import { DomainError, isDomainError, messageOf } from '@volant/contract'
import type { Operation } from '@volant/saga'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { requireState, type Server, type TaskState, type VmState } from '../domain/server.ts'
import { deleteServer } from '../operations/delete-server.ts'
import { pauseServer } from '../operations/pause-server.ts'
import { rebootServer } from '../operations/reboot-server.ts'
import { startServer } from '../operations/start-server.ts'
import { stopServer } from '../operations/stop-server.ts'
import type { Agents } from '../ports/agents.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { InstanceActionRecords, ServerRecords } from '../ports/servers.ts'
import { changeableServer, visibleServer } from './server-access.ts'

/** What changes a server's power, each an operation; returns when the operation is recorded. */
export interface ServerActions {
  start(principal: Principal, serverId: string, requestId: string): Promise<void>
  stop(principal: Principal, serverId: string, requestId: string): Promise<void>
  reboot(principal: Principal, serverId: string, how: 'soft' | 'hard', requestId: string): Promise<void>
  pause(principal: Principal, serverId: string, paused: boolean, requestId: string): Promise<void>
  remove(principal: Principal, serverId: string, requestId: string): Promise<void>
  consoleOutput(principal: Principal, serverId: string, lines: number | undefined): Promise<string>
}

/** What a guest is given to shut down by itself before it is powered off. Milliseconds. */
const shutdownGraceMs = 15_000

/** Most lines of console output in one answer. */
const mostConsoleLines = 10_000

interface ActionOptions {
  servers: Pick<ServerRecords, 'updateIf'>
  actions: Pick<InstanceActionRecords, 'create' | 'finish'>
  engine: Pick<OperationEngine, 'start'>
  clock: Clock
}

/** Claims the server for the action and begins it; gives the claim back where that is refused. */
export async function beginServerAction<Input, Ports>(
  { servers, actions, engine, clock }: ActionOptions,
  who: { userId: string; projectId: string; requestId: string; parent?: string },
  server: Server,
  action: { name: string; taskState: TaskState; from: readonly (TaskState | null)[] },
  operation: Operation<Input, Ports>,
  input: NoInfer<Input>,
): Promise<{ operationId: string }> {
  const expected = { vmStates: [server.vmState], taskStates: action.from }
  if (!(await servers.updateIf(server.id, expected, { taskState: action.taskState }))) {
    throw new DomainError(
      'conflict',
      `Cannot '${action.name}' instance ${server.id}: another request has just changed its state.`,
    )
  }
  const { requestId, parent } = who
  const at = clock.now().toISOString()
  try {
    // The row is there before the operation, which ends it.
    await actions.create({
      requestId,
      serverId: server.id,
      action: action.name,
      userId: who.userId,
      projectId: who.projectId,
      operationId: null,
      startedAt: at,
      finishedAt: null,
      result: null,
      message: null,
      host: server.host,
    })
    const { id } = await engine.start(operation, input, parent === undefined ? {} : { parent })
    return { operationId: id }
  } catch (error) {
    await actions.finish(
      { serverId: server.id, requestId },
      { finishedAt: clock.now().toISOString(), result: 'Error', message: messageOf(error) },
    )
    await servers.updateIf(server.id, { taskStates: [action.taskState] }, { taskState: server.taskState })
    throw error
  }
}

export function createServerActions(
  options: ActionOptions & { servers: ServerRecords; agents: Pick<Agents, 'compute'> },
): ServerActions {
  const { servers, agents } = options

  async function begin<Input, Ports>(
    { principal, requestId }: { principal: Principal; requestId: string },
    server: Server,
    action: { name: string; taskState: TaskState; from: readonly (TaskState | null)[] },
    operation: Operation<Input, Ports>,
    input: NoInfer<Input>,
  ): Promise<void> {
    const who = { userId: principal.userId, projectId: principal.projectId ?? server.projectId, requestId }
    await beginServerAction(options, who, server, action, operation, input)
  }

  return {
    async start(principal, serverId, requestId) {
      const server = await changeableServer(servers, principal, serverId, 'os_compute_api:servers:start')
      requireState(server, 'start', ['stopped'])
      const action = { name: 'start', taskState: 'powering-on', from: [null] } as const
      await begin({ principal, requestId }, server, action, startServer, { serverId, requestId })
    },
    async stop(principal, serverId, requestId) {
      const server = await changeableServer(servers, principal, serverId, 'os_compute_api:servers:stop')
      requireState(server, 'stop', ['active', 'error'])
      requirePlaced(server, 'stop')
      const action = { name: 'stop', taskState: 'powering-off', from: [null] } as const
      const input = { serverId, requestId, graceMs: shutdownGraceMs }
      await begin({ principal, requestId }, server, action, stopServer, input)
    },
    async reboot(principal, serverId, how, requestId) {
      const server = await changeableServer(servers, principal, serverId, 'os_compute_api:servers:reboot')
      const hardStates: VmState[] = ['active', 'stopped', 'paused', 'error']
      requireState(
        server,
        'reboot',
        how === 'soft' ? ['active'] : hardStates,
        how === 'soft' ? [null] : [null, 'rebooting'],
      )
      requirePlaced(server, 'reboot')
      const action = {
        name: 'reboot',
        taskState: how === 'soft' ? 'rebooting' : 'rebooting_hard',
        from: [server.taskState],
      } as const
      await begin({ principal, requestId }, server, action, rebootServer, {
        serverId,
        requestId,
        how,
        from: server.vmState,
      })
    },
    async pause(principal, serverId, paused, requestId) {
      const name = paused ? 'pause' : 'unpause'
      const policy = `os_compute_api:os-pause-server:${name}`
      const server = await changeableServer(servers, principal, serverId, policy)
      requireState(server, name, paused ? ['active'] : ['paused'])
      const action = { name, taskState: paused ? 'pausing' : 'unpausing', from: [null] } as const
      await begin({ principal, requestId }, server, action, pauseServer, { serverId, requestId, paused })
    },
    async remove(principal, serverId, requestId) {
      const server = await changeableServer(servers, principal, serverId, 'os_compute_api:servers:delete')
      // Asked for again while it is under way, it is under way.
      if (server.taskState === 'deleting') return
      const action = { name: 'delete', taskState: 'deleting', from: [server.taskState] } as const
      await begin({ principal, requestId }, server, action, deleteServer, { serverId, requestId })
    },
    async consoleOutput(principal, serverId, lines) {
      const server = await visibleServer(servers, principal, serverId)
      enforce(principal, 'os_compute_api:os-console-output', 'member', server.projectId)
      if (server.vmState === 'building' || server.host === null) {
        throw new DomainError('conflict', `Instance ${serverId} is not ready`)
      }
      const wanted = Math.min(lines ?? mostConsoleLines, mostConsoleLines)
      try {
        return await agents.compute(server.host).consoleOutput(serverId, wanted)
      } catch (error) {
        // It came to this host stopped, and has said nothing here.
        if (!isDomainError(error) || error.code !== 'notFound') throw error
        throw new DomainError('conflict', `Instance ${serverId} is not ready`)
      }
    },
  }
}

/** One whose build failed has nothing that could be started or stopped. */
function requirePlaced(server: Server, action: string): void {
  if (server.host !== null) return
  throw new DomainError(
    'conflict',
    `Cannot '${action}' instance ${server.id}: its build failed, so it has no compute host. Delete it.`,
  )
}
