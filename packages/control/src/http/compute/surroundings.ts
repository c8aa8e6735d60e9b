import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ComputeServices } from '../../app/compute-service.ts'
import { enforce } from '../../domain/policy.ts'
import { internalZone } from '../../domain/topology.ts'
import { microTime, paramOf } from './request.ts'
import { Query } from './query.ts'
import { bridgeName } from './server-body.ts'

/** What clients ask for around servers: zones, and collections that are always empty here. */
export function surroundingRoutes(app: FastifyInstance, { services }: { services: ComputeServices }): void {
  zoneRoutes(app, services)
  app.get('/os-aggregates', (request) => {
    enforce(request.principal, 'os_compute_api:os-aggregates:index', 'admin')
    return { aggregates: [] }
  })
  app.get('/extensions', () => ({ extensions: [] }))
  networkRoutes(app)
  usageRoutes(app)
  externalEvents(app)
}

/** A zone is available where a host of it is enabled. Who is no administrator sees the zones of servers by name. */
function zoneRoutes(app: FastifyInstance, services: ComputeServices): void {
  const zonesOf = async () => {
    const all = await services.all()
    const zones = [...Map.groupBy(all, ({ zone }) => zone)].map(([name, members]) => ({
      name,
      members,
      available: members.some(({ disabled }) => !disabled),
    }))
    return zones.toSorted((a, b) => Number(b.available) - Number(a.available) || (a.name < b.name ? -1 : 1))
  }
  const view = (name: string, available: boolean, hosts: object | null) => ({
    zoneName: name,
    zoneState: { available },
    hosts,
  })
  app.get('/os-availability-zone', async () => ({
    availabilityZoneInfo: (await zonesOf())
      .filter(({ name }) => name !== internalZone)
      .map(({ name, available }) => view(name, available, null)),
  }))
  app.get('/os-availability-zone/detail', async (request) => {
    enforce(request.principal, 'os_compute_api:os-availability-zone:detail', 'admin')
    return {
      availabilityZoneInfo: (await zonesOf()).map(({ name, members, available }) =>
        view(name, available, available ? hostsOf(members) : null),
      ),
    }
  })
}

/**
 * What `openstack server create --nic net-id=BRIDGE` and `--network BRIDGE` look a network up by where the catalogue
 * has no network service. A bridge is known by its name only, so any that can be one is found; that it is there is
 * the compute host's to say.
 */
function networkRoutes(app: FastifyInstance): void {
  app.get('/os-networks', () => ({ networks: [] }))
  app.get('/os-networks/:name', (request) => {
    const name = paramOf(request, 'name')
    if (!bridgeName.test(name)) {
      throw new DomainError('notFound', 'Network not found. Give a bridge of the compute host by its name.')
    }
    return { network: { id: name, label: name } }
  })
}

function hostsOf(services: Awaited<ReturnType<ComputeServices['all']>>) {
  const hosts: Record<string, Record<string, object>> = {}
  for (const service of services) {
    hosts[service.host] = {
      ...hosts[service.host],
      [service.binary]: {
        active: !service.disabled,
        available: service.up,
        updated_at: microTime(service.seenAt),
      },
    }
  }
  return hosts
}

/** There is no accounting: the answer says so with no hours. */
function usageRoutes(app: FastifyInstance): void {
  const period = (request: FastifyRequest) => {
    const query = new Query(request)
    const stop = query.time('end') ?? new Date().toISOString()
    const start = query.time('start') ?? new Date(Date.parse(stop) - 28 * 86_400_000).toISOString()
    return { start: microTime(start), stop: microTime(stop) }
  }
  app.get('/os-simple-tenant-usage', (request) => {
    enforce(request.principal, 'os_compute_api:os-simple-tenant-usage:list', 'admin')
    period(request)
    return { tenant_usages: [] }
  })
  app.get('/os-simple-tenant-usage/:project', (request) => {
    const project = paramOf(request, 'project')
    enforce(request.principal, 'os_compute_api:os-simple-tenant-usage:show', 'reader', project)
    period(request)
    return { tenant_usage: {} }
  })
}

function externalEvents(app: FastifyInstance): void {
  app.post('/os-server-external-events', (request) => {
    enforce(request.principal, 'os_compute_api:os-server-external-events:create', 'admin')
    throw new DomainError(
      'notImplemented',
      'Volumes tell their servers themselves: no event needs to be sent from outside.',
    )
  })
}
