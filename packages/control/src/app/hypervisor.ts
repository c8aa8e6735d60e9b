import { DomainError, type HypervisorFacts } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { instanceName, powerStates, type Server } from '../domain/server.ts'
import { memoryOf, type Topology } from '../domain/topology.ts'
import type { HostViews } from '../ports/hosts.ts'
import type { ServerMigrationRecords } from '../ports/server-migrations.ts'
import type { ServerRecords } from '../ports/servers.ts'
import type { ComputeServices, ShownService } from './compute-service.ts'

/** What servers have of a compute host. */
export interface HostUse {
  vcpus: number
  memoryMib: number
  diskGib: number
}

/** A compute host as the Compute API shows it. */
export interface Hypervisor {
  service: ShownService
  /** Undefined: its agent has not answered yet. */
  facts: HypervisorFacts | undefined
  /** Where its agent is. */
  address: string
  vcpus: number
  memoryMib: number
  /** What servers recorded on it have, running or not, and what is held back for those that are on their way. */
  used: HostUse
  /** What servers recorded on it have, of each project. */
  projects: ReadonlyMap<string, HostUse>
  servers: { id: string; name: string }[]
  /** Servers whose guest runs or is paused. */
  running: number
}

export interface Hypervisors {
  /** Ordered by number. `pattern`: a part of the host's name. */
  list(principal: Principal, options: { pattern?: string; detail: boolean }): Promise<Hypervisor[]>
  /** By UUID, or by number for old microversions. */
  show(principal: Principal, id: string): Promise<Hypervisor>
  /** `GET /os-hosts`: the services of all hosts that are enabled. */
  hosts(principal: Principal, zone?: string): Promise<ShownService[]>
  /** `GET /os-hosts/{host}`. */
  host(principal: Principal, host: string): Promise<Hypervisor>
}

const running = new Set<Server['powerState']>([powerStates.running, powerStates.paused])

const nothing: HostUse = { vcpus: 0, memoryMib: 0, diskGib: 0 }
const plus = (use: HostUse, more: Partial<HostUse>): HostUse => ({
  vcpus: use.vcpus + (more.vcpus ?? 0),
  memoryMib: use.memoryMib + (more.memoryMib ?? 0),
  diskGib: use.diskGib + (more.diskGib ?? 0),
})

export function createHypervisors(options: {
  services: Pick<ComputeServices, 'all'>
  servers: Pick<ServerRecords, 'onHost'>
  migrations: Pick<ServerMigrationRecords, 'reservedByHost'>
  hosts: HostViews
  topology: Topology
}): Hypervisors {
  const { topology } = options

  async function all(): Promise<Hypervisor[]> {
    const servers = (await options.servers.onHost()).filter(({ host }) => host !== null)
    const byHost = Map.groupBy(servers, ({ host }) => host as string)
    const reserved = await options.migrations.reservedByHost()
    const services = (await options.services.all()).filter(({ binary }) => binary === 'nova-compute')
    return services.map((service) => {
      const there = byHost.get(service.host) ?? []
      const definition = topology.computeHosts.find(({ name }) => name === service.host)
      const facts = options.hosts.find(service.host)?.facts
      const projects = Map.groupBy(there, ({ projectId }) => projectId)
      return {
        service,
        facts,
        address: addressOf(definition),
        vcpus: definition?.vcpus ?? facts?.vcpus ?? 0,
        memoryMib: definition === undefined ? 0 : memoryOf(topology, definition, facts?.memoryMiB),
        used: plus(useOf(there), reserved.get(service.host) ?? {}),
        projects: new Map([...projects].map(([project, theirs]) => [project, useOf(theirs)])),
        servers: there.map(({ id, number }) => ({ id, name: instanceName(number) })),
        running: there.filter(({ powerState }) => running.has(powerState)).length,
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
    async hosts(principal, zone) {
      enforce(principal, 'os_compute_api:os-hosts:list', 'admin')
      const services = await options.services.all()
      return services.filter((service) => !service.disabled && (zone === undefined || service.zone === zone))
    },
    async host(principal, host) {
      enforce(principal, 'os_compute_api:os-hosts:show', 'admin')
      const found = (await all()).find(({ service }) => service.host === host)
      if (found !== undefined) return found
      throw new DomainError('notFound', `Compute host ${host} could not be found.`)
    },
  }
}

const useOf = (servers: readonly Server[]): HostUse =>
  servers.reduce((use, { flavor }) => plus(use, flavor), nothing)

/** Where its agent is; of one without an address of its own, where guests arrive. */
const addressOf = (host: Topology['computeHosts'][number] | undefined): string =>
  host?.agent === undefined
    ? (host?.dataAddress ?? '127.0.0.1')
    : new URL(host.agent).hostname.replaceAll(/[[\]]/g, '')
