import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import { requireUnlocked, type Server } from '../domain/server.ts'
import type { ServerRecords } from '../ports/servers.ts'

/** The server, if the principal may know of it: another project's is `notFound`. */
export async function visibleServer(
  servers: Pick<ServerRecords, 'find'>,
  principal: Principal,
  serverId: string,
): Promise<Server> {
  const server = await servers.find(serverId)
  if (server === undefined || !(isAdmin(principal) || server.projectId === principal.projectId)) {
    throw new DomainError('notFound', `Instance ${serverId} could not be found.`)
  }
  return server
}

/** The server, if the principal may also change it, and it is not locked. */
export async function changeableServer(
  servers: Pick<ServerRecords, 'find'>,
  principal: Principal,
  serverId: string,
  policy: string,
): Promise<Server> {
  const server = await visibleServer(servers, principal, serverId)
  enforce(principal, policy, 'member', server.projectId)
  requireUnlocked(server, { isAdmin: isAdmin(principal) })
  return server
}

/** The server, for what only an administrator may do. */
export async function administeredServer(
  servers: Pick<ServerRecords, 'find'>,
  principal: Principal,
  serverId: string,
  policy: string,
): Promise<Server> {
  const server = await visibleServer(servers, principal, serverId)
  enforce(principal, policy, 'admin')
  return server
}
