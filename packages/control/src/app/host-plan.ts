import { DomainError } from '@volant/contract'
import type { ComputeHostState, HostPlan, PlannedServer, PlanRequest } from '@volant/contract/ndo/plan.ts'
import { isDrainedReason, isTaken, type Way } from '../domain/host-drain.ts'
import { largestFirst } from '../domain/host-placement.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { statusOf, type Server } from '../domain/server.ts'
import { drainHost, hostKey, type DrainHostInput } from '../operations/drain-host.ts'
import { hostEvacuationKey } from '../operations/evacuate-host.ts'
import {
  drainPlaces,
  drainWorks,
  leaves,
  restorePlaces,
  restoreWorks,
  type HostFactsPorts,
} from '../operations/host-facts.ts'
import type { Places, Work } from '../operations/host-parts.ts'
import { restoreHost, type RestoreHostInput } from '../operations/restore-host.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { ServerRelocations } from '../ports/server-relocations.ts'
import type { ServerMigrationRecords } from '../ports/server-migrations.ts'
import type { ComputeServices, ShownService } from './compute-service.ts'
import { planHostEvacuation, startHostEvacuation, type HostEvacuationOptions } from './host-evacuation.ts'
import type { Hypervisor, Hypervisors } from './hypervisor.ts'

/** Compute hosts are emptied for maintenance, and filled again, for administrators. */
export interface HostPlans {
  /** Who would go where, and who would stay, and why; changes nothing. Throws as `start`. */
  plan(principal: Principal, request: PlanRequest): Promise<HostPlan>
  /**
   * Begins it. Throws `notFound` for a host that is none, `invalid`, and `conflict` where the host is down, is drained or
   * restored at the moment, is the last one that servers could go to, or, for a restore, was not drained.
   */
  start(principal: Principal, request: PlanRequest): Promise<{ operationId: string; plan: HostPlan }>
  /** Every compute host, with what is under way with it. */
  hosts(principal: Principal): Promise<ComputeHostState[]>
}

export interface HostPlanOptions {
  ports: HostFactsPorts & { migrations: Pick<ServerMigrationRecords, 'list'> }
  relocations: Pick<ServerRelocations, 'check'>
  engine: Pick<OperationEngine, 'start' | 'holderOf'>
  services: Pick<ComputeServices, 'all'>
  hypervisors: Pick<Hypervisors, 'list'>
  machineOf: (host: string) => string
  evacuation: HostEvacuationOptions
}

const defaultParallel = 2
const mib = 1024 ** 2
/** Bytes of memory per second, where no live migration was measured yet: a small machine's, encrypted. */
const assumedBps = 100 * mib
/** How many of the last live migrations the measure is taken from. */
const measuredFrom = 10
/** Seconds that are reckoned for what copies no memory: a guest's shutdown, its way to another host, its start. */
const assumedSeconds: Record<Exclude<Way, 'live'>, number> = { cold: 30, stop: 15, start: 5 }

type Wish = { request: PlanRequest; service: ShownService; services: readonly ShownService[] }

export function createHostPlans(options: HostPlanOptions): HostPlans {
  const { engine } = options

  async function wishOf(request: PlanRequest): Promise<Wish> {
    const services = (await options.services.all()).filter(({ binary }) => binary === 'nova-compute')
    const service = services.find(({ host }) => host === request.host)
    const known = services.map(({ host }) => host)
    if (service === undefined) throw unknownHost(request.host, known)
    for (const host of request.to ?? []) if (!known.includes(host)) throw unknownHost(host, known)
    if (request.to?.includes(request.host) === true) {
      throw new DomainError(
        'invalid',
        `Compute host ${request.host} is to be emptied, so nothing can go to it. Name another.`,
      )
    }
    await requireIdle(engine, request)
    if (!service.up && request.kind !== 'evacuate') throw isDown(request)
    return { request, service, services }
  }

  async function plan(request: PlanRequest): Promise<HostPlan> {
    const wish = await wishOf(request)
    if (request.kind === 'evacuate') return planHostEvacuation(options.evacuation, request, wish.service)
    return request.kind === 'drain' ? planDrain(options, wish) : planRestore(options, wish)
  }

  return {
    async plan(principal, request) {
      enforce(principal, 'ndo:plans', 'admin')
      return plan(request)
    },
    async start(principal, request) {
      enforce(principal, 'ndo:plans', 'admin')
      const planned = await plan(request)
      const by = { userId: principal.userId, projectId: principal.projectId ?? '' }
      if (request.kind === 'evacuate') {
        const { id } = await startHostEvacuation(options.evacuation, request, by)
        return { operationId: id, plan: planned }
      }
      const { host, policy = 'live', parallel = defaultParallel, to = null, rate = 0 } = request
      const wishes = { rate: rate === 0 ? null : rate }
      const common = { host, parallel, by }
      const { id } =
        request.kind === 'drain'
          ? await engine.start(drainHost, { ...common, policy, to } satisfies DrainHostInput, wishes)
          : await engine.start(restoreHost, common satisfies RestoreHostInput, wishes)
      return { operationId: id, plan: planned }
    },
    async hosts(principal) {
      enforce(principal, 'ndo:hosts', 'admin')
      const hypervisors = await options.hypervisors.list(principal, { detail: true })
      return Promise.all(hypervisors.map((one) => stateOf(options, one)))
    },
  }
}

const unknownHost = (host: string, known: readonly string[]): DomainError =>
  new DomainError('notFound', `Compute host ${host} could not be found. There are: ${known.join(', ')}.`)

/** A host that dies while it is drained may be evacuated meanwhile. */
async function requireIdle(
  engine: Pick<OperationEngine, 'holderOf'>,
  { kind, host }: Pick<PlanRequest, 'kind' | 'host'>,
): Promise<void> {
  const holder =
    kind === 'evacuate' ? await engine.holderOf(hostEvacuationKey(host)) : await workOn(engine, host)
  if (holder === undefined) return
  const doing =
    {
      'host.drain': 'drained',
      'host.restore': 'restored',
      'host.evacuate': 'evacuated',
    }[holder.kind] ?? 'worked on'
  throw new DomainError(
    'conflict',
    `Compute host ${host} is being ${doing} by operation ${holder.id} already. Wait for its end, or cancel it.`,
  )
}

const workOn = async (engine: Pick<OperationEngine, 'holderOf'>, host: string) =>
  (await engine.holderOf(hostEvacuationKey(host))) ?? (await engine.holderOf(hostKey(host)))

function isDown({ kind, host }: PlanRequest): DomainError {
  return new DomainError(
    'conflict',
    kind === 'drain'
      ? `Compute host ${host} is down: nothing can leave it by itself. Evacuate it instead: volant evacuate ${host}`
      : `Compute host ${host} is down. Bring it back first.`,
  )
}

async function planDrain(options: HostPlanOptions, { request, services }: Wish): Promise<HostPlan> {
  const { ports } = options
  const { host, policy = 'live', parallel = defaultParallel, to = null } = request
  const works = await drainWorks(ports, host, policy)
  const ready = works.filter(({ task }) => task.kind === 'go').toSorted(largestFirst)
  const others = services.filter((one) => one.host !== host && (to === null || to.includes(one.host)))
  if (ready.some(leaves) && !others.some((one) => one.up && !one.disabled)) {
    throw lastOne(host, others, to !== null)
  }
  const supposing = { host, disabled: true }
  const refused = new Map<string, Record<string, string>>()
  const remarks = new Map<string, string>()
  let places: Places = new Map()
  // A destination that refuses a server for good is left out, and the rest is placed anew.
  for (let round = 0; round <= others.length; round++) {
    places = await drainPlaces(ports, ready, { to, supposing }, (id) => refused.get(id) ?? {})
    if (!(await ask(options, ready, places, refused, remarks))) break
  }
  const plan = await view(options, request, works, places, remarks)
  return { ...plan, policy, parallel, hosts: await destinationsOf(options, ready, places, supposing) }
}

/** Asks whether each could be begun; true where a destination refused one for good. */
async function ask(
  { relocations }: HostPlanOptions,
  ready: readonly Work[],
  places: Places,
  refused: Map<string, Record<string, string>>,
  remarks: Map<string, string>,
): Promise<boolean> {
  let isNew = false
  for (const work of ready) {
    const place = places.get(work.id)
    if (place === undefined || 'reason' in place || work.task.kind !== 'go') continue
    const { to } = place
    const refusal = await relocations.check({ way: work.task.way, serverId: work.id, host: to })
    if (refusal === null) remarks.delete(work.id)
    else if (refusal.passing || to === null) remarks.set(work.id, refusal.reason)
    else {
      refused.set(work.id, { ...refused.get(work.id), [to]: refusal.reason })
      isNew = true
    }
  }
  return isNew
}

function lastOne(host: string, others: readonly ShownService[], isNamed: boolean): DomainError {
  const reasons = others.map((one) =>
    one.up
      ? `${one.host} is disabled${one.disabledReason === null ? '' : `: ${one.disabledReason}`}`
      : `${one.host} is down`,
  )
  const which = isNamed
    ? 'None of the hosts that were named can be used'
    : 'It is the last one that can be used'
  const because = reasons.length === 0 ? 'there is no other' : reasons.join('; ')
  return new DomainError('conflict', `Servers can't leave compute host ${host}. ${which}: ${because}.`)
}

async function planRestore(options: HostPlanOptions, { request, service }: Wish): Promise<HostPlan> {
  const { ports } = options
  const { host, parallel = defaultParallel } = request
  const { works } = await restoreWorks(ports, host)
  if (works.length === 0 && !isDrainedReason(service.disabledReason)) {
    const why = service.disabled
      ? ` Its service was disabled by somebody${service.disabledReason === null ? '' : ` (${service.disabledReason})`}: ` +
        `openstack compute service set --enable ${host} nova-compute`
      : ''
    throw new DomainError(
      'conflict',
      `Compute host ${host} is not drained, so there is nothing to restore.${why}`,
    )
  }
  const ready = works.filter(({ task }) => task.kind === 'go').toSorted(largestFirst)
  const places = await restorePlaces(ports, ready, host, { host, disabled: false })
  const plan = await view(options, request, works, places, new Map())
  return { ...plan, policy: null, parallel, hosts: [] }
}

async function view(
  { ports }: HostPlanOptions,
  { kind, host, parallel = defaultParallel, rate }: PlanRequest,
  works: readonly Work[],
  places: Places,
  remarks: ReadonlyMap<string, string>,
): Promise<Omit<HostPlan, 'policy' | 'parallel' | 'hosts'>> {
  const measured = await measuredBps(ports)
  const fastest = measured ?? assumedBps
  const bps = rate === undefined || rate === 0 ? fastest : Math.min(rate, fastest)
  const found = new Map<string, Server>()
  for (const { id } of works) {
    const server = await ports.servers.find(id)
    if (server !== undefined) found.set(id, server)
  }
  const shown = (work: Work, changes: Partial<PlannedServer>): PlannedServer => ({
    id: work.id,
    name: work.name,
    status: found.has(work.id) ? statusOf(found.get(work.id) as Server) : 'UNKNOWN',
    way: null,
    from: work.at,
    to: null,
    memory_bytes: work.memoryMib * mib,
    bytes: 0,
    seconds: 0,
    reason: null,
    ...changes,
  })
  const moves: PlannedServer[] = []
  const stays: PlannedServer[] = []
  const rests: PlannedServer[] = []
  for (const work of works.toSorted(largestFirst)) {
    const { task } = work
    if (task.kind === 'rests') rests.push(shown(work, { reason: task.reason }))
    else if (task.kind === 'busy') moves.push(shown(work, { reason: task.reason }))
    else if (task.kind !== 'go') stays.push(shown(work, { reason: task.reason }))
    else {
      const place = places.get(work.id) ?? { reason: 'no place was looked for' }
      if ('reason' in place) stays.push(shown(work, { reason: place.reason }))
      else {
        const bytes = task.way === 'live' ? work.memoryMib * mib : 0
        const seconds = task.way === 'live' ? bytes / bps : assumedSeconds[task.way]
        const reason = remarks.get(work.id) ?? null
        moves.push(shown(work, { way: task.way, to: place.to, bytes, seconds: Math.ceil(seconds), reason }))
      }
    }
  }
  return {
    kind,
    host,
    ok: stays.length === 0,
    moves,
    stays,
    rests,
    estimate: {
      bytes: moves.reduce((sum, one) => sum + one.bytes, 0),
      seconds: makespan(
        moves.map((one) => one.seconds),
        parallel,
      ),
      rate: bps,
      measured: measured !== null,
    },
  }
}

/** How long it takes in all, so many at a time, in their order. */
function makespan(seconds: readonly number[], parallel: number): number {
  const lanes = Array.from({ length: parallel }, () => 0)
  for (const one of seconds) {
    const first = lanes.indexOf(Math.min(...lanes))
    lanes[first] = (lanes[first] ?? 0) + one
  }
  return Math.ceil(Math.max(...lanes))
}

/** Bytes of memory per second that the last live migrations came to, all in all; null: there was none. */
async function measuredBps({ migrations }: HostPlanOptions['ports']): Promise<number | null> {
  const last = await migrations.list(
    { kinds: ['live-migration'], statuses: ['completed'] },
    { limit: measuredFrom },
  )
  const known = last.filter(({ memoryTotal }) => memoryTotal !== null && memoryTotal > 0)
  const bytes = known.reduce((sum, one) => sum + (one.memoryTotal ?? 0), 0)
  const ms = known.reduce((sum, one) => sum + Date.parse(one.updatedAt) - Date.parse(one.createdAt), 0)
  return ms > 0 && bytes > 0 ? Math.round((bytes * 1000) / ms) : null
}

async function destinationsOf(
  { ports }: HostPlanOptions,
  ready: readonly Work[],
  places: Places,
  supposing: { host: string; disabled: boolean },
): Promise<HostPlan['hosts']> {
  const [first] = ready
  if (first === undefined) return []
  const candidates = await ports.destinations.candidates({ serverId: first.id, supposing })
  return candidates.flatMap(({ host, freeMemoryMib }) => {
    const coming = ready.filter(({ id }) => {
      const place = places.get(id)
      return place !== undefined && 'to' in place && place.to === host
    })
    if (coming.length === 0) return []
    const mibThen = freeMemoryMib - coming.reduce((sum, one) => sum + one.memoryMib, 0)
    return [{ host, free_bytes: freeMemoryMib * mib, free_after_bytes: Math.max(0, mibThen) * mib }]
  })
}

async function stateOf(
  { ports, engine, machineOf }: HostPlanOptions,
  { service, memoryMib, used, servers, running }: Hypervisor,
): Promise<ComputeHostState> {
  const { host } = service
  const holder = await workOn(engine, host)
  const taken = await ports.drained.ofHome(host)
  const away = []
  for (const one of taken) if (isTaken(await ports.servers.find(one.serverId), one)) away.push(one)
  return {
    name: host,
    machine: machineOf(host),
    up: service.up,
    enabled: !service.disabled,
    disabled_reason: service.disabledReason,
    drained: service.disabled && (away.length > 0 || isDrainedReason(service.disabledReason)),
    away: away.length,
    servers: servers.length,
    running,
    memory_bytes: memoryMib * mib,
    used_memory_bytes: used.memoryMib * mib,
    operation: holder === undefined ? null : { id: holder.id, kind: holder.kind },
  }
}
