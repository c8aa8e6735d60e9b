import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import {
  shareQuotaResources,
  usedOfShares,
  type ShareQuotaLimits,
  type ShareQuotaScope,
  type ShareQuotaUsage,
} from '../domain/share-quota.ts'
import type { ShareQuotaRecords } from '../ports/share-records.ts'
import type { ShareTypeRecords } from '../ports/shares.ts'
import { projectOf } from './volume-access.ts'

/** Whose limits, as a request names them. */
export interface ShareQuotaTarget {
  projectId: string
  userId?: string
  /** Id or name. */
  shareType?: string
}

export interface ShareQuotas {
  show(
    principal: Principal,
    target: ShareQuotaTarget,
  ): Promise<{ limits: ShareQuotaLimits; usage: ShareQuotaUsage }>
  defaults(principal: Principal, projectId: string): Promise<ShareQuotaLimits>
  update(
    principal: Principal,
    target: ShareQuotaTarget,
    limits: Partial<ShareQuotaLimits>,
    options: { force: boolean },
  ): Promise<ShareQuotaLimits>
  clear(principal: Principal, target: ShareQuotaTarget): Promise<void>
  showClass(principal: Principal): Promise<ShareQuotaLimits>
  updateClass(
    principal: Principal,
    className: string,
    limits: Partial<ShareQuotaLimits>,
  ): Promise<ShareQuotaLimits>
  /** Of the token's project. */
  own(principal: Principal): Promise<{ limits: ShareQuotaLimits; usage: ShareQuotaUsage }>
}

export function createShareQuotas(sources: {
  quotas: ShareQuotaRecords
  types: Pick<ShareTypeRecords, 'list'>
}): ShareQuotas {
  const { quotas } = sources
  const requireOwn = (principal: Principal, projectId: string): void => {
    if (!isAdmin(principal) && principal.projectId !== projectId) {
      throw new DomainError('forbidden', "Policy doesn't allow quota_set:show to be performed.")
    }
    enforce(principal, 'quota_set:show', 'reader')
  }
  const scopeOf = async ({ projectId, userId, shareType }: ShareQuotaTarget): Promise<ShareQuotaScope> => {
    if (userId !== undefined && shareType !== undefined) {
      throw new DomainError(
        'invalid',
        "'user_id' and 'share_type' values are mutually exclusive. Specify only one of them.",
      )
    }
    if (userId !== undefined) return { projectId, userId }
    if (shareType === undefined) return { projectId }
    const type = (await sources.types.list()).find(({ id, name }) => id === shareType || name === shareType)
    if (type === undefined) {
      throw new DomainError('notFound', `Share type with name or id '${shareType.slice(0, 80)}' not found.`)
    }
    return { projectId, shareTypeId: type.id }
  }
  const both = async (scope: ShareQuotaScope) => ({
    limits: await quotas.limits(scope),
    usage: await quotas.usage(scope),
  })
  return {
    async show(principal, target) {
      requireOwn(principal, target.projectId)
      return both(await scopeOf(target))
    },
    async defaults(principal, projectId) {
      requireOwn(principal, projectId)
      return quotas.defaults()
    },
    async update(principal, target, limits, { force }) {
      enforce(principal, 'quota_set:update', 'admin')
      const scope = await scopeOf(target)
      if (!force) requireAboveUsage(limits, await quotas.usage(scope))
      if (scope.userId !== undefined || scope.shareTypeId !== undefined) {
        requireWithin(limits, await quotas.limits({ projectId: target.projectId }))
      }
      await quotas.setLimits(scope, limits)
      return quotas.limits(scope)
    },
    async clear(principal, target) {
      enforce(principal, 'quota_set:delete', 'admin')
      await quotas.clearLimits(await scopeOf(target))
    },
    async showClass(principal) {
      enforce(principal, 'quota_class_set:show', 'admin')
      return quotas.defaults()
    },
    async updateClass(principal, className, limits) {
      enforce(principal, 'quota_class_set:update', 'admin')
      if (className !== 'default') {
        throw new DomainError(
          'invalid',
          `There is no quota class '${className.slice(0, 80)}', only 'default'.`,
        )
      }
      await quotas.setDefaults(limits)
      return quotas.defaults()
    },
    async own(principal) {
      enforce(principal, 'limits:index', 'reader')
      return both({ projectId: projectOf(principal) })
    },
  }
}

function requireAboveUsage(limits: Partial<ShareQuotaLimits>, usage: ShareQuotaUsage): void {
  for (const resource of shareQuotaResources) {
    const limit = limits[resource]
    const used = usedOfShares(usage, resource)
    if (limit !== undefined && limit >= 0 && limit < used) {
      throw new DomainError(
        'invalid',
        `Quota value ${limit} for ${resource} must be greater than or equal to already used and reserved ${used}. ` +
          'Force sets it all the same.',
      )
    }
  }
}

/** What one user or type may have is a part of what the project may have. */
function requireWithin(limits: Partial<ShareQuotaLimits>, project: ShareQuotaLimits): void {
  for (const resource of shareQuotaResources) {
    const limit = limits[resource]
    const bound = project[resource]
    if (limit !== undefined && bound >= 0 && (limit < 0 || limit > bound)) {
      throw new DomainError(
        'invalid',
        `Quota ${resource} must be less than or equal to the project's, ${bound}. Raise that first.`,
      )
    }
  }
}
