import { DomainError, isDomainError } from '@volant/contract'
import type { HostPlan, PlannedServer, PlanRequest } from '@volant/contract/ndo/plan.ts'
import { statusOf, type Server } from '../domain/server.ts'
import { evacuateHost } from '../operations/evacuate-host.ts'
import type { Evacuations } from '../ports/evacuations.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { ServerRecords } from '../ports/servers.ts'
import type { ShownService } from './compute-service.ts'

export interface HostEvacuationOptions {
  servers: Pick<ServerRecords, 'onHost'>
  evacuations: Pick<Evacuations, 'require'>
  engine: Pick<OperationEngine, 'start'>
}

const defaultParallel = 2
const mib = 1024 ** 2
/** Seconds that are reckoned for one server: the fence, its heads, its start. */
const assumedSeconds = 5

/** Who would go, and who would stay, and why. Throws `conflict` where the host is up, `invalid` for what only a drain has. */
export async function planHostEvacuation(
  { servers, evacuations }: HostEvacuationOptions,
  { host, policy, to, rate, parallel = defaultParallel }: PlanRequest,
  service: ShownService,
): Promise<HostPlan> {
  if (policy !== undefined || to !== undefined || rate !== undefined) {
    throw new DomainError(
      'invalid',
      "An evacuation has no 'policy', 'to' or 'rate': its servers are started anew.",
    )
  }
  if (service.up) {
    throw new DomainError(
      'conflict',
      `Compute host ${host} is up: drain it (volant drain ${host}). To take it for down at once: nova service-force-down ${service.id}`,
    )
  }
  const moves: PlannedServer[] = []
  const stays: PlannedServer[] = []
  for (const server of await servers.onHost(host)) {
    if (server.vmState === 'building') continue
    const reason = await reasonAgainst(evacuations, server)
    if (reason === null) moves.push(shown(server, { way: 'evacuate', seconds: assumedSeconds }))
    else stays.push(shown(server, { reason }))
  }
  return {
    ...{ kind: 'evacuate', host, ok: stays.length === 0, policy: null, parallel },
    ...{ moves, stays, rests: [], hosts: [] },
    estimate: {
      bytes: 0,
      seconds: Math.ceil(moves.length / parallel) * assumedSeconds,
      rate: 0,
      measured: false,
    },
  }
}

export async function startHostEvacuation(
  { engine }: HostEvacuationOptions,
  { host, parallel = defaultParallel }: PlanRequest,
  by: { userId: string; projectId: string },
): Promise<{ id: string }> {
  return engine.start(evacuateHost, { host, parallel, reason: 'evacuated: it was down', by })
}

async function reasonAgainst(
  evacuations: Pick<Evacuations, 'require'>,
  { id }: Server,
): Promise<string | null> {
  try {
    await evacuations.require({ serverId: id })
    return null
  } catch (error) {
    if (isDomainError(error)) return error.message
    throw error
  }
}

const shown = (server: Server, changes: Partial<PlannedServer>): PlannedServer => ({
  ...{
    id: server.id,
    name: server.name,
    status: statusOf(server),
    way: null,
    from: server.host ?? '',
    to: null,
  },
  ...{ memory_bytes: server.flavor.memoryMib * mib, bytes: 0, seconds: 0, reason: null },
  ...changes,
})
