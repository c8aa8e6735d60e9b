import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { ServerMigration, ServerMigrationStatus } from '../domain/server-migration.ts'
import type { ServerMigrationFilter, ServerMigrationRecords } from '../ports/server-migrations.ts'
import type { ServerRecords } from '../ports/servers.ts'
import { visibleServer } from './server-access.ts'

/** Nova's list of the states in which a live migration is under way. */
export const liveInProgress = [
  'queued',
  'preparing',
  'running',
  'post-migrating',
] as const satisfies readonly ServerMigrationStatus[]

/** What is on record of servers that change, or changed, their compute host. */
export interface ServerMigrations {
  /** Of all kinds, newest first. Throws `invalid` for a marker that is no migration's id. */
  list(
    principal: Principal,
    filter: ServerMigrationFilter,
    page: { limit: number; marker?: string },
  ): Promise<{ migrations: ServerMigration[]; hasMore: boolean }>
  /** Live migrations of the server that are under way. */
  underWay(principal: Principal, serverId: string): Promise<ServerMigration[]>
  /** One of them, by its number. */
  show(principal: Principal, serverId: string, number: string): Promise<ServerMigration>
}

export function createServerMigrations(options: {
  servers: Pick<ServerRecords, 'find'>
  migrations: Pick<ServerMigrationRecords, 'list' | 'findByNumber'>
}): ServerMigrations {
  const { servers, migrations } = options
  return {
    async list(principal, filter, page) {
      const policy = 'os_compute_api:os-migrations:index'
      enforce(principal, policy, 'admin')
      const found = await migrations.list(filter, { ...page, limit: page.limit + 1 })
      return { migrations: found.slice(0, page.limit), hasMore: found.length > page.limit }
    },
    async underWay(principal, serverId) {
      await visibleServer(servers, principal, serverId)
      enforce(principal, 'os_compute_api:servers:migrations:index', 'admin')
      return migrations.list({ serverId, kinds: ['live-migration'], statuses: liveInProgress })
    },
    async show(principal, serverId, number) {
      await visibleServer(servers, principal, serverId)
      enforce(principal, 'os_compute_api:servers:migrations:show', 'admin')
      const found = /^\d{1,10}$/.test(number)
        ? await migrations.findByNumber(serverId, Number(number))
        : undefined
      if (found === undefined) {
        throw new DomainError(
          'notFound',
          `In-progress live migration ${number} is not found for server ${serverId}.`,
        )
      }
      if (found.kind !== 'live-migration') {
        throw new DomainError('notFound', `Migration ${number} for server ${serverId} is not live-migration.`)
      }
      if (!liveInProgress.some((status) => status === found.status)) {
        throw new DomainError(
          'notFound',
          `Live migration ${number} for server ${serverId} is not in progress.`,
        )
      }
      return found
    },
  }
}
