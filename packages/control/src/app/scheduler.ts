import { DomainError } from '@volant/contract'
import { chooseHost, refusalOf, type ComputeRequest, type HostCapacity } from '../domain/placement-compute.ts'
import { zoneOf, type Topology } from '../domain/topology.ts'
import type { Candidate, DestinationRequest, Destinations } from '../ports/destinations.ts'
import type { HostViews } from '../ports/hosts.ts'
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
  hosts: HostViews
  /** Asks the agents anew. */
  refresh(): Promise<void>
  topology: Topology
  now(): Date
}): Scheduler {
  const inTurn = createTurns()

  async function capacities(): Promise<HostCapacity[]> {
    const usage = await options.servers.usageByHost()
    const reserved = await options.migrations.reservedByHost()
    const services = await options.services.list()
    return options.topology.computeHosts.map((host) => {
      const { name, vcpus, memoryMiB } = host
      const view = options.hosts.find(name)
      const service = services.find((s) => s.binary === 'nova-compute' && s.host === name)
      const used = usage.get(name)
      const held = reserved.get(name)
      return {
        name,
        availabilityZone: zoneOf(options.topology, host),
        service: {
          disabled: service?.disabled ?? false,
          disabledReason: service?.disabledReason ?? null,
          forcedDown: service?.forcedDown ?? false,
          up: service !== undefined && isUp(service, view, options.now()),
        },
        vcpus: vcpus ?? view?.facts?.vcpus ?? 0,
        memoryMib: memoryMiB ?? view?.facts?.memoryMiB ?? 0,
        usedVcpus: (used?.vcpus ?? 0) + (held?.vcpus ?? 0),
        usedMemoryMib: (used?.memoryMib ?? 0) + (held?.memoryMib ?? 0),
      }
    })
  }

  /** Where it is now is no candidate. */
  async function judged(request: DestinationRequest) {
    const { serverId, host, except = [], among, flavor } = request
    const server = await options.servers.get(serverId)
    const wanted: ComputeRequest = {
      vcpus: flavor?.vcpus ?? server.flavor.vcpus,
      memoryMib: flavor?.memoryMib ?? server.flavor.memoryMib,
      ...(host !== undefined && { host }),
      ...(server.pinnedZone !== null && { availabilityZone: server.pinnedZone }),
      ...(server.host !== null && { source: server.host }),
    }
    const hosts = (await capacities()).filter(({ name }) => name !== server.host)
    const open = hosts.filter(({ name }) => !except.includes(name) && (among?.includes(name) ?? true))
    const candidates: Candidate[] = hosts.map((one) => ({
      host: one.name,
      refusal: open.includes(one)
        ? (refusalOf(one, wanted) ?? null)
        : 'is not among the hosts to choose from',
      freeMemoryMib: Math.max(0, one.memoryMib - one.usedMemoryMib),
    }))
    return { candidates, host: chooseHost(open, wanted) }
  }

  return {
    candidates: async (request) => (await judged(request)).candidates,
    choose: (request, store) =>
      inTurn(async () => {
        let found = await judged(request)
        if (found.host === undefined) {
          await options.refresh()
          found = await judged(request)
        }
        if (found.host === undefined) {
          const asked = found.candidates.filter(
            ({ host }) => request.host === undefined || host === request.host,
          )
          const reasons = asked.map(({ host, refusal }) => `${host} ${String(refusal)}.`)
          throw new DomainError('invalid', `No valid host was found. ${reasons.join(' ')}`.trim())
        }
        await store(found.host)
        return found.host
      }),
    place: (serverId, request) =>
      inTurn(async () => {
        const server = await options.servers.get(serverId)
        if (server.host !== null) return server.host
        const wanted = { ...request, vcpus: server.flavor.vcpus, memoryMib: server.flavor.memoryMib }
        let host = chooseHost(await capacities(), wanted)
        if (host === undefined) {
          // Perhaps an agent has only just come back.
          await options.refresh()
          host = chooseHost(await capacities(), wanted)
        }
        if (host !== undefined) await options.servers.update(serverId, { host })
        return host
      }),
  }
}
