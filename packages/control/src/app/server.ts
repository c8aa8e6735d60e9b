import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import type { Server } from '../domain/server.ts'
import { isHidden, type Attachment } from '../domain/volume.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { ServerMigrationRecords } from '../ports/server-migrations.ts'
import type { ServerGroupRecords } from '../ports/server-groups.ts'
import type {
  InstanceAction,
  InstanceActionRecords,
  ServerFilter,
  ServerPage,
  ServerRecords,
} from '../ports/servers.ts'
import type { ComputeServices } from './compute-service.ts'
import { cancelOperationOn } from './operation-cancel.ts'
import { changeableServer, visibleServer } from './server-access.ts'

/** Nova's host_status: UP, DOWN, MAINTENANCE (disabled), or empty where the server has no host. */
export type HostStatus = 'UP' | 'DOWN' | 'MAINTENANCE' | ''

/** All that a view of a server shows. */
export interface ServerFacts {
  server: Server
  /** Without that of its root disk. */
  attachments: Attachment[]
  /** How many disks its guest has, its root disk among them. */
  disks: number
  hostStatus: HostStatus
  /** Its host's availability zone; without a host the one that it was made in by name, or empty. */
  zone: string
  /** Its server group; of a single server only. */
  groupId?: string
}

/** What `metadata` may hold, Nova's `metadata_items`, and the most tags of a server. */
export const metadataLimit = 128
const tagLimit = 50

export interface Servers {
  show(principal: Principal, serverId: string): Promise<ServerFacts>
  /** One server more than asked for is never returned; `hasMore` says whether there are more. */
  list(
    principal: Principal,
    filter: ServerFilter,
    page: ServerPage,
    options: { allProjects: boolean; detail: boolean; zone?: string },
  ): Promise<{ servers: ServerFacts[]; hasMore: boolean }>
  update(
    principal: Principal,
    serverId: string,
    fields: Partial<Pick<Server, 'name' | 'description' | 'hostname'>>,
  ): Promise<ServerFacts>
  /** What `change` makes of the metadata. Throws `overQuota` (403) beyond the limit. */
  changeMetadata(
    principal: Principal,
    serverId: string,
    change: (metadata: Record<string, string>) => Record<string, string>,
  ): Promise<Record<string, string>>
  changeTags(principal: Principal, serverId: string, change: (tags: string[]) => string[]): Promise<string[]>
  setLock(principal: Principal, serverId: string, lock: { reason: string | null } | null): Promise<void>
  /** `os-resetState`: cancels what is under way with the server, then sets its state. */
  resetState(principal: Principal, serverId: string, state: 'active' | 'error'): Promise<void>
  actions(principal: Principal, serverId: string): Promise<InstanceAction[]>
  action(principal: Principal, serverId: string, requestId: string): Promise<InstanceAction>
}

export function createServers(options: {
  servers: ServerRecords
  actions: Pick<InstanceActionRecords, 'ofServer' | 'find'>
  services: Pick<ComputeServices, 'all'>
  groups: Pick<ServerGroupRecords, 'ofServer'>
  migrations: Pick<ServerMigrationRecords, 'list' | 'update'>
  engine: Pick<OperationEngine, 'cancel' | 'holderOf' | 'latestOf' | 'settled'>
}): Servers {
  const { servers, actions, engine } = options

  const facts = async (found: Server[]): Promise<ServerFacts[]> => {
    const attachments = await servers.attachmentsOf(found.map(({ id }) => id))
    const services = await options.services.all()
    return found.map((server) => {
      const all = attachments.get(server.id) ?? []
      const service = services.find(({ host, binary }) => binary === 'nova-compute' && host === server.host)
      const status =
        service === undefined ? '' : service.disabled ? 'MAINTENANCE' : service.up ? 'UP' : 'DOWN'
      return {
        server,
        attachments: all.filter((one) => !isHidden(one)),
        disks: all.length + (server.boot.rootDisk === undefined ? 0 : 1),
        hostStatus: status,
        zone: service?.zone ?? server.pinnedZone ?? '',
      }
    })
  }
  const hostsOf = async (zone: string): Promise<string[]> =>
    (await options.services.all())
      .filter((service) => service.binary === 'nova-compute' && service.zone === zone)
      .map(({ host }) => host)
  const factsOf = async (server: Server): Promise<ServerFacts> => {
    const groupId = await options.groups.ofServer(server.id)
    return { ...((await facts([server]))[0] as ServerFacts), ...(groupId !== undefined && { groupId }) }
  }

  return {
    async show(principal, serverId) {
      const server = await visibleServer(servers, principal, serverId)
      enforce(principal, 'os_compute_api:servers:show', 'reader', server.projectId)
      return factsOf(server)
    },
    async list(principal, filter, page, { allProjects, detail, zone }) {
      const policy = `os_compute_api:servers:${detail ? 'detail' : 'index'}`
      enforce(principal, policy, 'reader')
      if (allProjects) enforce(principal, `${policy}:get_all_tenants`, 'admin')
      const scope = allProjects ? {} : { projectId: principal.projectId ?? '' }
      const place = zone === undefined ? {} : { hosts: await hostsOf(zone) }
      const found = await servers.list({ ...filter, ...scope, ...place }, { ...page, limit: page.limit + 1 })
      const shown = found.slice(0, page.limit)
      return { servers: await facts(shown), hasMore: found.length > page.limit }
    },
    async update(principal, serverId, fields) {
      const server = await visibleServer(servers, principal, serverId)
      enforce(principal, 'os_compute_api:servers:update', 'member', server.projectId)
      await servers.update(serverId, fields)
      return factsOf(await servers.get(serverId))
    },
    async changeMetadata(principal, serverId, change) {
      const policy = 'os_compute_api:server-metadata:update'
      const server = await changeableServer(servers, principal, serverId, policy)
      if (server.vmState === 'building' || server.vmState === 'error') {
        throw new DomainError(
          'conflict',
          `Cannot 'update metadata' instance ${serverId} while it is in vm_state ${server.vmState}`,
        )
      }
      const metadata = change({ ...server.metadata })
      if (Object.keys(metadata).length > metadataLimit) {
        throw new DomainError('overQuota', `Maximum number of metadata items exceeds ${metadataLimit}`, {
          httpStatus: 403,
        })
      }
      await servers.update(serverId, { metadata })
      return metadata
    },
    async changeTags(principal, serverId, change) {
      const policy = 'os_compute_api:os-server-tags:update'
      const server = await visibleServer(servers, principal, serverId)
      enforce(principal, policy, 'member', server.projectId)
      const tags = change([...server.tags])
      if (tags.length > tagLimit) {
        throw new DomainError('invalid', `The number of tags exceeded the per-server limit ${tagLimit}`)
      }
      await servers.update(serverId, { tags })
      return tags
    },
    async setLock(principal, serverId, lock) {
      const server = await visibleServer(servers, principal, serverId)
      const policy = `os_compute_api:os-lock-server:${lock === null ? 'unlock' : 'lock'}`
      enforce(principal, policy, 'member', server.projectId)
      if (lock === null) {
        if (server.lockedBy === 'admin' && !isAdmin(principal)) {
          enforce(principal, 'os_compute_api:os-lock-server:unlock:unlock_override', 'admin')
        }
        await servers.update(serverId, { lockedBy: null, lockedReason: null })
      } else {
        const lockedBy = server.projectId === principal.projectId ? 'owner' : 'admin'
        await servers.update(serverId, { lockedBy, lockedReason: lock.reason })
      }
    },
    async resetState(principal, serverId, state) {
      const server = await visibleServer(servers, principal, serverId)
      enforce(principal, 'os_compute_api:os-admin-actions:reset_state', 'admin')
      if (state === 'active' && server.host === null) {
        throw new DomainError(
          'conflict',
          `Cannot 'reset_state' instance ${serverId}: it has never been on a compute host. Delete it.`,
        )
      }
      // Its task ends by being undone, not by being forgotten; what remains is a label.
      const cancelled = await cancelOperationOn(engine, { type: 'server', id: serverId })
      if (cancelled === 'ending') return
      if (state === 'active' && (await servers.find(serverId))?.host == null) return
      await endResize(options.migrations, serverId)
      await servers.update(serverId, { vmState: state, taskState: null })
    },
    async actions(principal, serverId) {
      const server = await visibleServer(servers, principal, serverId)
      enforce(principal, 'os_compute_api:os-instance-actions:list', 'reader', server.projectId)
      return actions.ofServer(serverId)
    },
    async action(principal, serverId, requestId) {
      const server = await visibleServer(servers, principal, serverId)
      enforce(principal, 'os_compute_api:os-instance-actions:show', 'reader', server.projectId)
      const action = await actions.find(serverId, requestId)
      if (action !== undefined) return action
      throw new DomainError(
        'notFound',
        `Action for request_id ${requestId} on instance ${serverId} not found`,
      )
    },
  }
}

/** Nobody confirms or reverts it any more: the server stays where it is, and nothing is held back for its way back. */
async function endResize(
  migrations: Pick<ServerMigrationRecords, 'list' | 'update'>,
  serverId: string,
): Promise<void> {
  for (const { id } of await migrations.list({ serverId, statuses: ['finished'] })) {
    await migrations.update(id, { status: 'confirmed', reserves: null })
  }
}
