import { DomainError } from '@volant/contract'
import {
  chooseHost,
  cpuAllocationRatio,
  refusalOf,
  unboundByDisabled,
  type ComputeRequest,
  type HostCapacity,
} from '../domain/placement-compute.ts'
import type { Server } from '../domain/server.ts'
import { memoryOf, zoneOf, type Topology } from '../domain/topology.ts'
import type { Candidate, DestinationRequest, Destinations } from '../ports/destinations.ts'
import type { HostViews } from '../ports/hosts.ts'
import type { ServerGroupRecords } from '../ports/server-groups.ts'
import type { ServerMigrationRecords } from '../ports/server-migrations.ts'
import type { ComputeServiceRecords, ServerRecords } from '../ports/servers.ts'
import { isUp } from './compute-service.ts'
import { createTurns } from './turns.ts'

export interface Scheduler extends Destinations {
  /** Chooses a host and records it with the server. Undefined: none fits. Repeated, it keeps its choice. */
  place(
    serverId: string,
    request: Pick<ComputeRequest, 'availabilityZone' | 'host'>,
  ): Promise<string | undefined>
}

export function createScheduler(options: {
  servers: Pick<ServerRecords, 'get' | 'update' | 'usageByHost'>
  services: Pick<ComputeServiceRecords, 'list'>
  migrations: Pick<ServerMigrationRecords, 'reservedByHost'>
  groups: Pick<ServerGroupRecords, 'placesFor'>
  hosts: HostViews
  /** Asks the agents anew. */
  refresh(): Promise<void>
  topology: Topology
  now(): Date
}): Scheduler {
  const inTurn = createTurns()

  async function capacities(supposing?: DestinationRequest['supposing']): Promise<HostCapacity[]> {
    const usage = await options.servers.usageByHost()
    const reserved = await options.migrations.reservedByHost()
    const services = await options.services.list()
    return options.topology.computeHosts.map((host) => {
      const { name, vcpus } = host
      const view = options.hosts.find(name)
      const service = services.find((s) => s.binary === 'nova-compute' && s.host === name)
      const used = usage.get(name)
      const held = reserved.get(name)
      return {
        name,
        availabilityZone: zoneOf(options.topology, host),
        service: {
          disabled: supposing?.host === name ? supposing.disabled : (service?.disabled ?? false),
          disabledReason: service?.disabledReason ?? null,
          forcedDown: service?.forcedDown ?? false,
          up: service !== undefined && isUp(service, view, options.now()),
        },
        vcpus: vcpus ?? view?.facts?.vcpus ?? 0,
        memoryMib: memoryOf(options.topology, host, view?.facts?.memoryMiB),
        usedVcpus: (used?.vcpus ?? 0) + (held?.vcpus ?? 0),
        usedMemoryMib: (used?.memoryMib ?? 0) + (held?.memoryMib ?? 0),
      }
    })
  }

  /** A host counts as up for a while after its last answer; nothing new goes to one that is silent now. */
  const answers = ({ name }: HostCapacity): boolean => options.hosts.find(name)?.answers ?? false
  const whyNot = (host: HostCapacity, wanted: ComputeRequest): string | null =>
    refusalOf(host, wanted) ?? (answers(host) ? null : 'does not answer now')
  const best = (hosts: readonly HostCapacity[], wanted: ComputeRequest): string | undefined =>
    chooseHost(hosts.filter(answers), wanted)

  async function wantedFor(
    server: Server,
    more: Pick<ComputeRequest, 'host' | 'availabilityZone'> & Pick<DestinationRequest, 'flavor'>,
  ): Promise<ComputeRequest> {
    const { flavor = server.flavor, host, availabilityZone = server.pinnedZone ?? undefined } = more
    const group = await options.groups.placesFor(server.id)
    return {
      vcpus: flavor.vcpus,
      memoryMib: flavor.memoryMib,
      ...(host !== undefined && { host }),
      ...(availabilityZone !== undefined && { availabilityZone }),
      ...(server.host !== null && { source: server.host }),
      ...(group !== undefined && { group }),
    }
  }

  /** Where it is now is no candidate. */
  async function judged(request: DestinationRequest) {
    const { serverId, except = [], among } = request
    const server = await options.servers.get(serverId)
    const all = await capacities(request.supposing)
    const wanted = unboundByDisabled(await wantedFor(server, request), all)
    const hosts = all.filter(({ name }) => name !== server.host)
    const isOpen = ({ name }: HostCapacity): boolean =>
      !except.includes(name) && (among?.includes(name) ?? true)
    const candidates: Candidate[] = hosts.map((one) => ({
      host: one.name,
      refusal: isOpen(one) ? whyNot(one, wanted) : 'is not among the hosts to choose from',
      freeMemoryMib: Math.max(0, one.memoryMib - one.usedMemoryMib),
      freeVcpus: Math.max(0, one.vcpus * cpuAllocationRatio - one.usedVcpus),
    }))
    return { server, candidates, host: best(hosts.filter(isOpen), wanted) }
  }

  /** Of a host that was asked for: what is wrong with asking for it. */
  function requireOther({ host, id }: Server, asked: string | undefined): void {
    if (asked === undefined) return
    if (asked === host) {
      throw new DomainError('invalid', `Unable to migrate instance (${id}) to current host (${host}).`)
    }
    if (options.topology.computeHosts.some(({ name }) => name === asked)) return
    throw new DomainError('invalid', `Compute host ${asked} could not be found.`)
  }

  return {
    candidates: async (request) => (await judged(request)).candidates,
    choose: (request, store) =>
      inTurn(async () => {
        let found = await judged(request)
        requireOther(found.server, request.host)
        if (found.host === undefined) {
          // Perhaps an agent has only just come back.
          await options.refresh()
          found = await judged(request)
        }
        if (found.host === undefined) {
          const asked = found.candidates.filter(
            ({ host }) => request.host === undefined || host === request.host,
          )
          throw new DomainError('invalid', noValidHost(asked))
        }
        await store(found.host)
        return found.host
      }),
    place: (serverId, request) =>
      inTurn(async () => {
        const server = await options.servers.get(serverId)
        if (server.host !== null) return server.host
        const wanted = await wantedFor(server, request)
        let host = best(await capacities(), wanted)
        if (host === undefined) {
          await options.refresh()
          host = best(await capacities(), wanted)
        }
        if (host !== undefined) await options.servers.update(serverId, { host })
        else if (request.host !== undefined) {
          // Who named a host may know why it is none.
          const asked = (await capacities()).filter(({ name }) => name === request.host)
          const reasons = asked.map((one) => ({ host: one.name, refusal: whyNot(one, wanted) }))
          throw new DomainError('noCapacity', noValidHost(reasons))
        }
        return host
      }),
  }
}

const noValidHost = (asked: readonly Pick<Candidate, 'host' | 'refusal'>[]): string => {
  const reasons = asked.flatMap(({ host, refusal }) => (refusal === null ? [] : [`${host} ${refusal}.`]))
  return ['No valid host was found.', ...(reasons.length === 0 ? ['There is no other.'] : reasons)].join(' ')
}
