import { DomainError } from '@volant/contract'
import { defaultComputeQuotas } from '../domain/compute-quota.ts'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import { requireGroupQuota, type ServerGroup } from '../domain/server-group.ts'
import type { Clock } from '../ports/clock.ts'
import type { ServerGroupRecords, ServerGroupWithMembers } from '../ports/server-groups.ts'
import type { ComputeQuotaRecords } from '../ports/servers.ts'
import { createTurns } from './turns.ts'
import { projectOf } from './volume-access.ts'

export interface ServerGroups {
  list(
    principal: Principal,
    page: { limit: number; offset: number },
    options: { allProjects: boolean },
  ): Promise<ServerGroupWithMembers[]>
  show(principal: Principal, groupId: string): Promise<ServerGroupWithMembers>
  create(
    principal: Principal,
    group: Pick<ServerGroup, 'name' | 'policy' | 'rules'>,
  ): Promise<ServerGroupWithMembers>
  remove(principal: Principal, groupId: string): Promise<void>
}

/** The group, if the principal may know of it: another project's is not found. */
export async function visibleGroup(
  groups: Pick<ServerGroupRecords, 'find'>,
  principal: Principal,
  groupId: string,
): Promise<ServerGroupWithMembers | undefined> {
  const group = await groups.find(groupId)
  return group !== undefined && (isAdmin(principal) || group.projectId === principal.projectId)
    ? group
    : undefined
}

export function createServerGroups(options: {
  groups: ServerGroupRecords
  quotas: Pick<ComputeQuotaRecords, 'of'>
  clock: Clock
}): ServerGroups {
  const { groups, quotas, clock } = options
  const inTurn = createTurns()
  const find = async (principal: Principal, groupId: string): Promise<ServerGroupWithMembers> => {
    const group = await visibleGroup(groups, principal, groupId)
    if (group !== undefined) return group
    throw new DomainError('notFound', `Instance group ${groupId} could not be found.`)
  }
  return {
    async list(principal, page, { allProjects }) {
      enforce(principal, 'os_compute_api:os-server-groups:index', 'reader')
      // Who is no administrator gets the own ones, as Nova answers it.
      const everything = allProjects && isAdmin(principal)
      return groups.list(everything ? {} : { projectId: projectOf(principal) }, page)
    },
    async show(principal, groupId) {
      const group = await find(principal, groupId)
      enforce(principal, 'os_compute_api:os-server-groups:show', 'reader', group.projectId)
      return group
    },
    async create(principal, { name, policy, rules }) {
      const projectId = projectOf(principal)
      enforce(principal, 'os_compute_api:os-server-groups:create', 'member', projectId)
      // One after the other, so that two requests never count on the same rest of the quota.
      return inTurn(async () => {
        const limits = { ...defaultComputeQuotas, ...(await quotas.of(projectId)) }
        requireGroupQuota(limits.server_groups, await groups.countOfProject(projectId))
        const id = crypto.randomUUID()
        const createdAt = clock.now().toISOString()
        const group = { id, projectId, userId: principal.userId, name, policy, rules, createdAt }
        await groups.create(group)
        return { ...group, members: [] }
      })
    },
    async remove(principal, groupId) {
      const group = await find(principal, groupId)
      enforce(principal, 'os_compute_api:os-server-groups:delete', 'member', group.projectId)
      if (await groups.remove(groupId)) return
      throw new DomainError('notFound', `Instance group ${groupId} could not be found.`)
    },
  }
}
