import { DomainError } from '@volant/contract'
import {
  defaultComputeQuotas,
  type ComputeQuotas,
  type ComputeResource,
  type ProjectUsage,
} from '../domain/compute-quota.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { ServerGroupRecords } from '../ports/server-groups.ts'
import type { ComputeQuotaRecords, ServerRecords } from '../ports/servers.ts'

export interface ComputeLimits {
  /** Limits and use of the caller's project, or of another's for an administrator. */
  limits(principal: Principal, projectId?: string): Promise<{ limits: ComputeQuotas; used: ProjectUsage }>
  quotas(principal: Principal, projectId: string): Promise<{ limits: ComputeQuotas; used: ProjectUsage }>
  defaults(principal: Principal, projectId: string): Promise<ComputeQuotas>
  /** `force`: also below what is used. */
  change(
    principal: Principal,
    projectId: string,
    limits: Partial<ComputeQuotas>,
    force: boolean,
  ): Promise<ComputeQuotas>
  reset(principal: Principal, projectId: string): Promise<void>
}

export function createComputeLimits(options: {
  quotas: ComputeQuotaRecords
  servers: Pick<ServerRecords, 'usageOfProject'>
  groups: Pick<ServerGroupRecords, 'countOfProject'>
}): ComputeLimits {
  const limitsOf = async (projectId: string): Promise<ComputeQuotas> => ({
    ...defaultComputeQuotas,
    ...(await options.quotas.of(projectId)),
  })
  const usageOf = async (projectId: string): Promise<ProjectUsage> => ({
    ...(await options.servers.usageOfProject(projectId)),
    server_groups: await options.groups.countOfProject(projectId),
  })
  const both = async (projectId: string) => ({
    limits: await limitsOf(projectId),
    used: await usageOf(projectId),
  })
  return {
    async limits(principal, projectId) {
      if (projectId !== undefined && projectId !== principal.projectId) {
        enforce(principal, 'os_compute_api:limits:other_project', 'admin')
      }
      return both(projectId ?? principal.projectId ?? '')
    },
    async quotas(principal, projectId) {
      enforce(principal, 'os_compute_api:os-quota-sets:show', 'reader', projectId)
      return both(projectId)
    },
    async defaults(principal, projectId) {
      enforce(principal, 'os_compute_api:os-quota-sets:defaults', 'reader', projectId)
      return { ...defaultComputeQuotas }
    },
    async change(principal, projectId, limits, force) {
      enforce(principal, 'os_compute_api:os-quota-sets:update', 'admin')
      const used: Partial<Record<ComputeResource, number>> = await usageOf(projectId)
      for (const [resource, limit] of Object.entries(limits) as [ComputeResource, number][]) {
        const inUse = used[resource] ?? 0
        if (!force && limit >= 0 && limit < inUse) {
          throw new DomainError(
            'invalid',
            `Quota limit ${limit} for ${resource} must be greater than or equal to already used and reserved ` +
              `${inUse}.`,
          )
        }
      }
      for (const [resource, limit] of Object.entries(limits) as [ComputeResource, number][]) {
        await options.quotas.set(projectId, resource, limit)
      }
      return limitsOf(projectId)
    },
    async reset(principal, projectId) {
      enforce(principal, 'os_compute_api:os-quota-sets:delete', 'admin')
      await options.quotas.clear(projectId)
    },
  }
}
