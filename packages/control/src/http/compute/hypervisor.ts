import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Hypervisor, Hypervisors } from '../../app/hypervisor.ts'
import { nextLink, paramOf, since } from './request.ts'
import { Query } from './query.ts'

export function hypervisorRoutes(app: FastifyInstance, hypervisors: Hypervisors): void {
  const list = async (request: FastifyRequest, detail: boolean) => {
    const query = new Query(request)
    const modern = since(request, '2.53')
    if (modern) requireKnown(query, ['limit', 'marker', 'hypervisor_hostname_pattern', 'with_servers'])
    const pattern = modern ? query.text('hypervisor_hostname_pattern') : undefined
    const withServers = modern && (query.boolean('with_servers') ?? false)
    const limit = since(request, '2.33') ? query.limit() : Infinity
    const marker = since(request, '2.33') ? query.text('marker') : undefined
    if (pattern !== undefined && (query.text('limit') !== undefined || marker !== undefined)) {
      throw new DomainError(
        'invalid',
        'Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.',
      )
    }
    const all = await hypervisors.list(request.principal, {
      detail,
      ...(pattern === undefined ? {} : { pattern }),
    })
    const start = marker === undefined ? 0 : all.findIndex((each) => idOf(request, each) === marker) + 1
    if (marker !== undefined && start === 0) {
      throw new DomainError('invalid', `marker [${marker}] not found`)
    }
    const page = all.slice(start, start + limit)
    const last = page.at(-1)
    return {
      hypervisors: page.map((each) => view(request, each, { detail, withServers })),
      ...(start + page.length < all.length && last !== undefined
        ? { hypervisors_links: [nextLink(request, String(idOf(request, last)))] }
        : {}),
    }
  }
  app.get('/os-hypervisors', (request) => list(request, false))
  app.get('/os-hypervisors/detail', (request) => list(request, true))
  app.get('/os-hypervisors/statistics', async (request) => {
    if (since(request, '2.88')) throw new DomainError('notFound', 'The resource could not be found.')
    return { hypervisor_statistics: statistics(await hypervisors.list(request.principal, { detail: true })) }
  })
  app.get('/os-hypervisors/:id', async (request) => {
    const id = idParam(request)
    const query = new Query(request)
    if (since(request, '2.53')) requireKnown(query, ['with_servers'])
    const withServers = since(request, '2.53') && (query.boolean('with_servers') ?? false)
    const found = await hypervisors.show(request.principal, id)
    return { hypervisor: view(request, found, { detail: true, withServers }) }
  })
  olderRoutes(app, hypervisors)
}

/** Before 2.53 searching and the servers of a hypervisor had paths of their own; before 2.88 its uptime. */
function olderRoutes(app: FastifyInstance, hypervisors: Hypervisors): void {
  const before = (request: FastifyRequest, version: string): void => {
    if (since(request, version)) throw new DomainError('notFound', 'The resource could not be found.')
  }
  app.get('/os-hypervisors/:id/search', async (request) => {
    before(request, '2.53')
    const pattern = paramOf(request, 'id')
    const found = await hypervisors.list(request.principal, { pattern, detail: false })
    return {
      hypervisors: found.map((each) => view(request, each, { detail: false, withServers: false })),
    }
  })
  app.get('/os-hypervisors/:id/servers', async (request) => {
    before(request, '2.53')
    const pattern = paramOf(request, 'id')
    const found = await hypervisors.list(request.principal, { pattern, detail: false })
    return {
      hypervisors: found.map((each) => view(request, each, { detail: false, withServers: true })),
    }
  })
  app.get('/os-hypervisors/:id/uptime', async (request) => {
    before(request, '2.88')
    const found = await hypervisors.show(request.principal, idParam(request))
    const uptime = uptimeOf(found)
    // Clients go on without it after a 501, and after nothing else.
    if (uptime === null) {
      throw new DomainError('notImplemented', `The uptime of ${found.service.host} is not known: it is down.`)
    }
    return { hypervisor: { ...view(request, found, { detail: false, withServers: false }), uptime } }
  })
}

function requireKnown(query: Query, known: readonly string[]): void {
  const stranger = query.keys().find((key) => !known.includes(key))
  if (stranger === undefined) return
  throw new DomainError(
    'invalid',
    `Additional properties are not allowed ('${stranger.slice(0, 100)}' was unexpected)`,
  )
}

/**
 * From 2.53 on a UUID. What is none is not found, where Nova answers 400: after a 404 its client looks the host up by
 * its name, `nova hypervisor-show HOST`, and after a 400 it gives up.
 */
function idParam(request: FastifyRequest): string {
  const id = paramOf(request, 'id')
  if (!since(request, '2.53') || /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id)) return id
  throw new DomainError('notFound', `Hypervisor with ID '${id}' could not be found.`)
}

const idOf = (request: FastifyRequest, { service }: Hypervisor): string | number =>
  since(request, '2.53') ? service.hypervisorId : service.number

function view(
  request: FastifyRequest,
  hypervisor: Hypervisor,
  { detail, withServers }: { detail: boolean; withServers: boolean },
): Record<string, unknown> {
  const { service, servers } = hypervisor
  return {
    id: idOf(request, hypervisor),
    hypervisor_hostname: service.host,
    state: service.up ? 'up' : 'down',
    status: service.disabled ? 'disabled' : 'enabled',
    ...(detail ? detailView(request, hypervisor) : {}),
    ...(withServers && (servers.length > 0 || since(request, '2.75'))
      ? { servers: servers.map(({ id, name }) => ({ uuid: id, name })) }
      : {}),
  }
}

function detailView(request: FastifyRequest, hypervisor: Hypervisor): Record<string, unknown> {
  const { service, facts } = hypervisor
  return {
    hypervisor_type: 'QEMU',
    hypervisor_version: versionNumber(facts?.qemuVersion),
    host_ip: hypervisor.address,
    service: {
      id: since(request, '2.53') ? service.id : service.number,
      host: service.host,
      disabled_reason: service.disabledReason,
    },
    ...(since(request, '2.88')
      ? { uptime: uptimeOf(hypervisor) }
      : { ...capacityView(hypervisor), ...cpuView(request) }),
  }
}

const cpuView = (request: FastifyRequest) => ({ cpu_info: since(request, '2.28') ? {} : '{}' })

const capacityView = ({ facts, used, vcpus, memoryMib, running }: Hypervisor) => ({
  vcpus,
  memory_mb: memoryMib,
  local_gb: facts?.localDiskGiB ?? 0,
  vcpus_used: used.vcpus,
  memory_mb_used: used.memoryMib,
  local_gb_used: used.diskGib,
  free_ram_mb: memoryMib - used.memoryMib,
  free_disk_gb: facts?.freeDiskGiB ?? 0,
  current_workload: 0,
  running_vms: running,
  disk_available_least: facts?.freeDiskGiB ?? 0,
})

/**
 * As the command `uptime` says it, which clients take apart: `10:00:00 up 1 day,  1:01,  0 users,  load average: …`.
 * Who is logged in is not looked at. Null: its agent does not answer, or does not say.
 */
function uptimeOf({ service, facts }: Hypervisor): string | null {
  const { uptimeSeconds, loadAverage } = facts ?? {}
  if (!service.up || uptimeSeconds === undefined || loadAverage === undefined) return null
  const minutes = Math.floor(uptimeSeconds / 60)
  const days = Math.floor(minutes / 1440)
  const clock = `${String(Math.floor(minutes / 60) % 24)}:${String(minutes % 60).padStart(2, '0')}`
  const up = days === 0 ? clock : `${days} day${days === 1 ? '' : 's'},  ${clock}`
  const load = loadAverage.map((value) => value.toFixed(2)).join(', ')
  return `${service.seenAt.slice(11, 19)} up ${up},  0 users,  load average: ${load}`
}

/** `7.2.22` is 7002022, as libvirt numbers versions. */
function versionNumber(version: string | undefined): number {
  const [major = 0, minor = 0, patch = 0] = (version ?? '0')
    .split('.')
    .map((part) => Number.parseInt(part, 10))
  return major * 1_000_000 + minor * 1000 + patch
}

function statistics(hypervisors: readonly Hypervisor[]): Record<string, number> {
  const total: Record<string, number> = { count: hypervisors.length }
  for (const hypervisor of hypervisors) {
    for (const [key, value] of Object.entries(capacityView(hypervisor))) {
      total[key] = (total[key] ?? 0) + value
    }
  }
  return total
}
