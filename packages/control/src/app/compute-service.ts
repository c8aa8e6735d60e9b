import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { internalZone, zoneOf, type Topology } from '../domain/topology.ts'
import type { Clock } from '../ports/clock.ts'
import type { HostView, HostViews } from '../ports/hosts.ts'
import type { ComputeService, ComputeServiceRecords } from '../ports/servers.ts'

/** A service whose agent has not answered for this long is down; Nova's `service_down_time`. Milliseconds. */
const downAfterMs = 60_000

export const isUp = (service: ComputeService, view: HostView | undefined, now: Date): boolean =>
  !service.forcedDown &&
  view !== undefined &&
  (view.answers || (view.facts !== undefined && now.getTime() - view.seenAt.getTime() < downAfterMs))

export interface ShownService extends ComputeService {
  up: boolean
  /** When it last gave a sign of life. ISO 8601. */
  seenAt: string
  zone: string
}

export interface ComputeServices {
  /** Makes the rows of hosts that are new in the topology. */
  prepare(): Promise<void>
  list(principal: Principal, filter: { host?: string; binary?: string }): Promise<ShownService[]>
  /** Of one host, for what is shown of its servers. Undefined: the topology has no such host. */
  ofHost(host: string): Promise<ShownService | undefined>
  all(): Promise<ShownService[]>
  change(
    principal: Principal,
    which: { id: string } | { host: string; binary: string },
    fields: { disabled?: boolean; disabledReason?: string | null; forcedDown?: boolean },
  ): Promise<ShownService>
  remove(principal: Principal, serviceId: string): Promise<never>
}

export function createComputeServices(options: {
  records: ComputeServiceRecords
  hosts: HostViews
  topology: Topology
  clock: Clock
}): ComputeServices {
  const { records, hosts, topology, clock } = options
  const computeHosts = new Map(topology.computeHosts.map((host) => [host.name, host]))

  const shown = (service: ComputeService): ShownService => {
    const isCompute = service.binary === 'nova-compute'
    const view = isCompute ? hosts.find(service.host) : undefined
    return {
      ...service,
      up: !isCompute || isUp(service, view, clock.now()),
      seenAt: (isCompute ? (view?.seenAt ?? new Date(service.updatedAt)) : clock.now()).toISOString(),
      zone: isCompute ? zoneOf(topology, computeHosts.get(service.host)) : internalZone,
    }
  }

  // Hosts that are no longer in the topology keep their rows, and are not shown.
  const known = (service: ComputeService): boolean =>
    service.binary === 'nova-compute' ? computeHosts.has(service.host) : service.host === topology.host

  const all = async (): Promise<ShownService[]> => (await records.list()).filter(known).map(shown)

  return {
    async prepare() {
      const wanted: [string, ComputeService['binary']][] = [
        [topology.host, 'nova-scheduler'],
        [topology.host, 'nova-conductor'],
        ...topology.computeHosts.map(({ name }): [string, 'nova-compute'] => [name, 'nova-compute']),
      ]
      const existing = await records.list()
      for (const [host, binary] of wanted) {
        if (existing.some((service) => service.host === host && service.binary === binary)) continue
        const at = clock.now().toISOString()
        await records.ensure({
          id: crypto.randomUUID(),
          host,
          binary,
          hypervisorId: crypto.randomUUID(),
          disabled: false,
          disabledReason: null,
          forcedDown: false,
          createdAt: at,
          updatedAt: at,
        })
      }
    },
    all,
    ofHost: async (host) =>
      (await all()).find((service) => service.binary === 'nova-compute' && service.host === host),
    async list(principal, filter) {
      enforce(principal, 'os_compute_api:os-services:list', 'admin')
      return (await all()).filter(
        (service) =>
          (filter.host === undefined || service.host === filter.host) &&
          (filter.binary === undefined || service.binary === filter.binary),
      )
    },
    async change(principal, which, fields) {
      enforce(principal, 'os_compute_api:os-services:update', 'admin')
      const service = await find(which)
      if (service.binary !== 'nova-compute') {
        throw new DomainError(
          'invalid',
          `Updating a ${service.binary} service is not supported. Only nova-compute services can be updated.`,
        )
      }
      await records.update(service.id, { ...fields, updatedAt: clock.now().toISOString() })
      return find({ id: service.id })
    },
    async remove(principal, serviceId) {
      enforce(principal, 'os_compute_api:os-services:delete', 'admin')
      const service = await find({ id: serviceId })
      throw new DomainError(
        'conflict',
        `Service ${service.binary} of ${service.host} cannot be deleted: its host is in the configuration file. ` +
          'Take it out there.',
      )
    },
  }

  async function find(which: { id: string } | { host: string; binary: string }): Promise<ShownService> {
    const services = await all()
    if ('id' in which) {
      const service = services.find(({ id, number }) => id === which.id || String(number) === which.id)
      if (service !== undefined) return service
      throw new DomainError('notFound', `Service ${which.id} could not be found.`)
    }
    const { host, binary } = which
    if (binary !== 'nova-compute') {
      throw new DomainError(
        'invalid',
        `Updating a ${binary} service is not supported. Only nova-compute services can be updated.`,
      )
    }
    const service = services.find((other) => other.host === host && other.binary === binary)
    if (service !== undefined) return service
    throw new DomainError('notFound', `Could not find binary ${binary} on host ${host}.`)
  }
}
