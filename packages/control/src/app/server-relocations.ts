import { isDomainError, messageOf } from '@volant/contract'
import { isForRoom } from '../domain/host-drain.ts'
import { LiveMigrationRefused } from '../domain/live-migration.ts'
import type { Server, TaskState, VmState } from '../domain/server.ts'
import { startServer } from '../operations/start-server.ts'
import { stopServer } from '../operations/stop-server.ts'
import type { Clock } from '../ports/clock.ts'
import type { ColdMigrations } from '../ports/cold-migrations.ts'
import type { LiveMigrations } from '../ports/live-migrations.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { RelocationRefusal, RelocationRequest, ServerRelocations } from '../ports/server-relocations.ts'
import type { InstanceActionRecords, ServerRecords } from '../ports/servers.ts'
import { shutdownGraceMs } from './cold-migration.ts'
import { beginServerAction } from './server-action.ts'

const powers = {
  stop: { name: 'stop', taskState: 'powering-off', from: [null], states: ['active'] },
  start: { name: 'start', taskState: 'powering-on', from: [null], states: ['stopped'] },
} as const satisfies Record<
  string,
  { name: string; taskState: TaskState; from: readonly null[]; states: readonly VmState[] }
>

export function createServerRelocations(options: {
  live: LiveMigrations
  cold: ColdMigrations
  servers: Pick<ServerRecords, 'get' | 'updateIf'>
  actions: Pick<InstanceActionRecords, 'create' | 'finish'>
  engine: Pick<OperationEngine, 'start' | 'holderOf'>
  clock: Clock
}): ServerRelocations {
  const { servers, engine } = options

  const powerRefusal = (server: Server, way: 'stop' | 'start'): RelocationRefusal | null => {
    if (server.taskState !== null) return { reason: `it is ${server.taskState}`, passing: true }
    const states: readonly VmState[] = powers[way].states
    return states.includes(server.vmState) ? null : { reason: `it is ${server.vmState}`, passing: true }
  }

  async function power(
    way: 'stop' | 'start',
    { serverId, by, parent }: RelocationRequest,
  ): Promise<{ operationId: string } | RelocationRefusal> {
    const server = await servers.get(serverId)
    const refusal = powerRefusal(server, way)
    if (refusal !== null) return refusal
    const requestId = `req-${crypto.randomUUID()}`
    const who = { ...by, requestId, parent }
    const input = { serverId, requestId }
    return way === 'start'
      ? beginServerAction(options, who, server, powers.start, startServer, input)
      : beginServerAction(options, who, server, powers.stop, stopServer, {
          ...input,
          graceMs: shutdownGraceMs,
        })
  }

  const wishOf = ({ serverId, host }: Pick<RelocationRequest, 'serverId' | 'host'>) => ({
    serverId,
    ...(host !== null && { host }),
  })

  return {
    async check(request) {
      const { way } = request
      if (way === 'live') return options.live.check(wishOf(request))
      if (way === 'cold') return options.cold.check(wishOf(request))
      return powerRefusal(await servers.get(request.serverId), way)
    },
    async start(request) {
      const { way, by, parent } = request
      try {
        if (way === 'stop' || way === 'start') return await power(way, request)
        const wish = { ...wishOf(request), by: { ...by, requestId: `req-${crypto.randomUUID()}` }, parent }
        return await (way === 'live' ? options.live.start(wish) : options.cold.start(wish))
      } catch (error) {
        if (!isDomainError(error) || error.code === 'staleFence' || error.code === 'internal') throw error
        const isHeld = (await engine.holderOf(`server/${request.serverId}`)) !== undefined
        const passing =
          error instanceof LiveMigrationRefused
            ? error.passing
            : isHeld || error.code === 'conflict' || error.code === 'unavailable' || isForRoom(error.message)
        return { reason: messageOf(error), passing }
      }
    },
  }
}
