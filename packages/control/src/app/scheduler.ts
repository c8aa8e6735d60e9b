import { chooseHost, type ComputeRequest, type HostCapacity } from '../domain/placement-compute.ts'
import type { Topology } from '../domain/topology.ts'
import type { HostViews } from '../ports/hosts.ts'
import type { ComputeServiceRecords, ServerRecords } from '../ports/servers.ts'
import { isUp } from './compute-service.ts'
import { createTurns } from './turns.ts'

export interface Scheduler {
  /** Chooses a host and records it with the server. Undefined: none fits. Repeated, it keeps its choice. */
  place(
    serverId: string,
    request: Pick<ComputeRequest, 'availabilityZone' | 'host'>,
  ): Promise<string | undefined>
}

export function createScheduler(options: {
  servers: Pick<ServerRecords, 'get' | 'update' | 'usageByHost'>
  services: Pick<ComputeServiceRecords, 'list'>
  hosts: HostViews
  /** Asks the agents anew. */
  refresh(): Promise<void>
  topology: Topology
  now(): Date
}): Scheduler {
  const inTurn = createTurns()

  async function capacities(): Promise<HostCapacity[]> {
    const usage = await options.servers.usageByHost()
    const services = await options.services.list()
    return options.topology.computeHosts.map(({ name, vcpus, memoryMiB }) => {
      const view = options.hosts.find(name)
      const service = services.find((s) => s.binary === 'nova-compute' && s.host === name)
      const used = usage.get(name)
      return {
        name,
        availabilityZone: options.topology.availabilityZone,
        service: {
          disabled: service?.disabled ?? false,
          disabledReason: service?.disabledReason ?? null,
          forcedDown: service?.forcedDown ?? false,
          up: service !== undefined && isUp(service, view, options.now()),
        },
        vcpus: vcpus ?? view?.facts?.vcpus ?? 0,
        memoryMib: memoryMiB ?? view?.facts?.memoryMiB ?? 0,
        usedVcpus: used?.vcpus ?? 0,
        usedMemoryMib: used?.memoryMib ?? 0,
      }
    })
  }

  return {
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
