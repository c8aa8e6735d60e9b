import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { liveInProgress, type ServerMigrations } from '../../app/server-migration.ts'
import type { ServerMigration, ServerMigrationKind } from '../../domain/server-migration.ts'
import type { Topology } from '../../domain/topology.ts'
import type { ServerMigrationFilter } from '../../ports/server-migrations.ts'
import { Query } from './query.ts'
import { linksOf, microTime, nextLink, paramOf, since } from './request.ts'

const kinds = ['live-migration', 'migration', 'resize', 'evacuation'] as const

/** Records of servers that change their host: all of them, and a server's live migrations that are under way. */
export function serverMigrationRoutes(
  app: FastifyInstance,
  { migrations, topology }: { migrations: ServerMigrations; topology: Topology },
): void {
  app.get('/os-migrations', async (request) => {
    const { filter, page } = filterOf(request)
    if (filter === undefined) {
      await migrations.list(request.principal, {}, { limit: 0 })
      return { migrations: [] }
    }
    const { migrations: found, hasMore } = await migrations.list(request.principal, filter, page)
    const last = found.at(-1)
    return {
      migrations: found.map((each) => listedView(request, topology, each)),
      ...(hasMore && last !== undefined && since(request, '2.59')
        ? { migrations_links: [nextLink(request, last.id)] }
        : {}),
    }
  })
  const from223 = (request: FastifyRequest): void => {
    if (!since(request, '2.23')) throw new DomainError('notFound', 'The resource could not be found.')
  }
  app.get('/servers/:id/migrations', async (request) => {
    from223(request)
    const found = await migrations.underWay(request.principal, paramOf(request, 'id'))
    return { migrations: found.map((each) => liveView(request, topology, each)) }
  })
  app.get('/servers/:id/migrations/:number', async (request) => {
    from223(request)
    const found = await migrations.show(request.principal, paramOf(request, 'id'), paramOf(request, 'number'))
    return { migration: liveView(request, topology, found) }
  })
}

/** `filter` undefined: one that nothing fits, such as a kind that there is not. */
function filterOf(request: FastifyRequest): {
  filter: ServerMigrationFilter | undefined
  page: { limit: number; marker?: string }
} {
  const query = new Query(request)
  const pages = since(request, '2.59')
  const byOwner = since(request, '2.80')
  const byTime = pages ? { changedSince: query.time('changes-since') } : {}
  const before = since(request, '2.66') ? { changedBefore: query.time('changes-before') } : {}
  requireKnownKeys(request, query)
  if (
    byTime.changedSince !== undefined &&
    before.changedBefore !== undefined &&
    before.changedBefore < byTime.changedSince
  ) {
    throw new DomainError(
      'invalid',
      'The value of changes-since must be less than or equal to changes-before.',
    )
  }
  const kind = query.text('migration_type')
  const status = query.text('status')
  const marker = pages ? query.text('marker') : undefined
  const page = { limit: pages ? query.limit() : 1000, ...(marker !== undefined && { marker }) }
  if (kind !== undefined && !kinds.some((each) => each === kind)) return { filter: undefined, page }
  const wanted = {
    serverId: query.text('instance_uuid'),
    kinds: kind === undefined ? undefined : [kind as ServerMigrationKind],
    statuses: status === undefined ? undefined : [status as ServerMigration['status']],
    host: query.text('host'),
    sourceHost: query.text('source_compute'),
    userId: byOwner ? query.text('user_id') : undefined,
    projectId: byOwner ? query.text('project_id') : undefined,
    ...byTime,
    ...before,
  }
  const given = Object.entries(wanted).filter(([, value]) => value !== undefined)
  return { filter: Object.fromEntries(given) as ServerMigrationFilter, page }
}

/** From 2.59 on, unknown parameters are refused. */
function requireKnownKeys(request: FastifyRequest, query: Query): void {
  if (!since(request, '2.59')) return
  const known = ['hidden', 'host', 'instance_uuid', 'source_compute', 'status', 'migration_type']
  known.push('limit', 'marker', 'changes-since')
  if (since(request, '2.66')) known.push('changes-before')
  if (since(request, '2.80')) known.push('user_id', 'project_id')
  const stranger = query.keys().find((key) => !known.includes(key))
  if (stranger === undefined) return
  throw new DomainError(
    'invalid',
    `Additional properties are not allowed ('${stranger.slice(0, 100)}' was unexpected)`,
  )
}

const isLive = ({ kind, status }: ServerMigration): boolean =>
  kind === 'live-migration' && liveInProgress.some((each) => each === status)

const placesOf = (topology: Topology, { sourceHost, destHost }: ServerMigration) => ({
  source_compute: sourceHost,
  source_node: sourceHost,
  dest_compute: destHost,
  dest_node: destHost,
  dest_host: addressOf(topology, destHost),
})

/** Where the host's agent is; of one without an address of its own, where guests arrive. */
function addressOf(topology: Topology, host: string | null): string | null {
  if (host === null) return null
  const found = topology.computeHosts.find(({ name }) => name === host)
  const agent = found?.agent
  return agent === undefined
    ? (found?.dataAddress ?? '127.0.0.1')
    : new URL(agent).hostname.replaceAll(/[[\]]/g, '')
}

const ownersOf = (request: FastifyRequest, { userId, projectId }: ServerMigration) =>
  since(request, '2.80') ? { user_id: userId, project_id: projectId } : {}

const listedView = (request: FastifyRequest, topology: Topology, migration: ServerMigration) => ({
  id: migration.number,
  instance_uuid: migration.serverId,
  status: migration.status,
  ...placesOf(topology, migration),
  old_instance_type_id: numberOf(migration.oldFlavor.id),
  new_instance_type_id: numberOf(migration.newFlavor.id),
  created_at: microTime(migration.createdAt),
  updated_at: microTime(migration.updatedAt),
  ...(since(request, '2.23') ? { migration_type: migration.kind } : {}),
  ...(since(request, '2.23') && isLive(migration)
    ? { links: linksOf(request, `servers/${migration.serverId}/migrations/${migration.number}`) }
    : {}),
  ...(since(request, '2.59') ? { uuid: migration.id } : {}),
  ...ownersOf(request, migration),
})

/** Nova shows the number of a flavor's row; here a flavor has no other than its id. */
const numberOf = (flavorId: string): number | null => (/^\d{1,9}$/.test(flavorId) ? Number(flavorId) : null)

/** No disk is copied: they stay where they are. */
const liveView = (request: FastifyRequest, topology: Topology, migration: ServerMigration) => ({
  id: migration.number,
  server_uuid: migration.serverId,
  status: migration.status,
  ...placesOf(topology, migration),
  memory_total_bytes: migration.memoryTotal,
  memory_processed_bytes: migration.memoryProcessed,
  memory_remaining_bytes: migration.memoryRemaining,
  disk_total_bytes: 0,
  disk_processed_bytes: 0,
  disk_remaining_bytes: 0,
  created_at: microTime(migration.createdAt),
  updated_at: microTime(migration.updatedAt),
  ...(since(request, '2.59') ? { uuid: migration.id } : {}),
  ...ownersOf(request, migration),
})
