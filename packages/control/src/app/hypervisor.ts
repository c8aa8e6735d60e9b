import { DomainError, type HypervisorFacts } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { Topology } from '../domain/topology.ts'
import type { HostViews } from '../ports/hosts.ts'
import type { ServerRecords } from '../ports/servers.ts'
import type { ComputeServices, ShownService } from './compute-service.ts'

/** A compute host as the Compute API shows it. */
export interface Hypervisor {
  service: ShownService
  /** Undefined: its agent has not answered yet. */
  facts: HypervisorFacts | undefined
  vcpus: number
  memoryMib: number
  /** What the servers recorded on it have. */
  used: { servers: number; vcpus: number; memoryMib: number; diskGib: number }
  servers: { id: string; name: string }[]
}

export interface Hypervisors {
  /** Ordered by number. `pattern`: a part of the host's name. */
  list(principal: Principal, options: { pattern?: string; detail: boolean }): Promise<Hypervisor[]>
  /** By UUID, or by number for old microversions. */
  show(principal: Principal, id: string): Promise<Hypervisor>
}

export function createHypervisors(options: {
  services: Pick<ComputeServices, 'all'>
  servers: Pick<ServerRecords, 'usageByHost' | 'onHost'>
  hosts: HostViews
  topology: Topology
}): Hypervisors {
  async function all(): Promise<Hypervisor[]> {
    const usage = await options.servers.usageByHost()
    const servers = await options.servers.onHost()
    const services = (await options.services.all()).filter(({ binary }) => binary === 'nova-compute')
    return services.map((service) => {
      const definition = options.topology.computeHosts.find(({ name }) => name === service.host)
      const facts = options.hosts.find(service.host)?.facts
      return {
        service,
        facts,
        vcpus: definition?.vcpus ?? facts?.vcpus ?? 0,
        memoryMib: definition?.memoryMiB ?? facts?.memoryMiB ?? 0,
        used: usage.get(service.host) ?? { servers: 0, vcpus: 0, memoryMib: 0, diskGib: 0 },
        servers: servers
          .filter(({ host }) => host === service.host)
          .map(({ id, number }) => ({ id, name: `instance-${number.toString(16).padStart(8, '0')}` })),
      }
    })
  }

  return {
    async list(principal, { pattern, detail }) {
      enforce(principal, `os_compute_api:os-hypervisors:list${detail ? '-detail' : ''}`, 'admin')
      const hypervisors = await all()
      if (pattern === undefined) return hypervisors
      const matching = hypervisors.filter(({ service }) => service.host.includes(pattern))
      if (matching.length > 0) return matching
      throw new DomainError('notFound', `No hypervisor matching '${pattern}' could be found.`)
    },
    async show(principal, id) {
      enforce(principal, 'os_compute_api:os-hypervisors:show', 'admin')
      const found = (await all()).find(
        ({ service }) => service.hypervisorId === id || String(service.number) === id,
      )
      if (found !== undefined) return found
      throw new DomainError('notFound', `Hypervisor with ID '${id}' could not be found.`)
    },
  }
}
