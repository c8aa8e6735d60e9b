import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import { quotaResources, usedOf, type QuotaLimits, type QuotaUsage } from '../domain/quota.ts'
import type { BlockQuotaRecords } from '../ports/block-storage.ts'
import { projectOf } from './volume-access.ts'

export interface Quotas {
  show(principal: Principal, projectId: string): Promise<{ limits: QuotaLimits; usage: QuotaUsage }>
  defaults(principal: Principal, projectId: string): Promise<QuotaLimits>
  update(principal: Principal, projectId: string, limits: Partial<QuotaLimits>): Promise<QuotaLimits>
  clear(principal: Principal, projectId: string): Promise<void>
  showClass(principal: Principal, className: string): Promise<QuotaLimits>
  updateClass(principal: Principal, className: string, limits: Partial<QuotaLimits>): Promise<QuotaLimits>
  /** Of the token's project. */
  own(principal: Principal): Promise<{ limits: QuotaLimits; usage: QuotaUsage }>
}

export function createQuotas({ quotas }: { quotas: BlockQuotaRecords }): Quotas {
  const requireOwn = (principal: Principal, projectId: string, policy: string): void => {
    if (!isAdmin(principal) && principal.projectId !== projectId) {
      throw new DomainError('forbidden', `Policy doesn't allow ${policy} to be performed.`)
    }
    enforce(principal, policy, 'reader')
  }
  const both = async (projectId: string) => ({
    limits: await quotas.limits(projectId),
    usage: await quotas.usage(projectId),
  })
  return {
    async show(principal, projectId) {
      requireOwn(principal, projectId, 'volume_extension:quotas:show')
      return both(projectId)
    },
    async defaults(principal, projectId) {
      requireOwn(principal, projectId, 'volume_extension:quotas:show')
      return quotas.classLimits('default')
    },
    async update(principal, projectId, limits) {
      enforce(principal, 'volume_extension:quotas:update', 'admin')
      requireAboveUsage(limits, await quotas.usage(projectId))
      await quotas.setLimits(projectId, limits)
      return quotas.limits(projectId)
    },
    async clear(principal, projectId) {
      enforce(principal, 'volume_extension:quotas:delete', 'admin')
      await quotas.clearLimits(projectId)
    },
    async showClass(principal, className) {
      enforce(principal, 'volume_extension:quota_classes:get', 'admin')
      return quotas.classLimits(className)
    },
    async updateClass(principal, className, limits) {
      enforce(principal, 'volume_extension:quota_classes:update', 'admin')
      await quotas.setClassLimits(className, limits)
      return quotas.classLimits(className)
    },
    async own(principal) {
      enforce(principal, 'limits_extension:used_limits', 'reader')
      return both(projectOf(principal))
    },
  }
}

function requireAboveUsage(limits: Partial<QuotaLimits>, usage: QuotaUsage): void {
  for (const resource of quotaResources) {
    const limit = limits[resource]
    const used = usedOf(usage, resource)
    if (limit !== undefined && limit >= 0 && limit < used) {
      throw new DomainError(
        'invalid',
        `Quota limit ${limit} for ${resource} is below what is in use (${used}). Set it to ${used} or more, or -1.`,
      )
    }
  }
}
