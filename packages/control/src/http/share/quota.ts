import { DomainError } from '@volant/contract'
import { Type } from 'typebox'
import type { ShareQuotas, ShareQuotaTarget } from '../../app/share-quota.ts'
import { maxQuota } from '../../domain/quota.ts'
import {
  shareQuotaResources,
  usedOfShares,
  type ShareQuotaLimits,
  type ShareQuotaResource,
} from '../../domain/share-quota.ts'
import { accepted, ok } from '../answer.ts'
import { atLeast } from '../microversion.ts'
import { parser } from '../parse.ts'
import { flag } from './action.ts'
import { param, queryText, type ShareCall, type ShareRoutes } from './call.ts'

const parseSet = parser(Type.Object({ quota_set: Type.Record(Type.String(), Type.Unknown()) }))
const parseClass = parser(Type.Object({ quota_class_set: Type.Record(Type.String(), Type.Unknown()) }))

const known = new Set<string>(shareQuotaResources)
const notResources = new Set(['tenant_id', 'project_id', 'class_name', 'id', 'force'])

function limitsOf(body: Record<string, unknown>): Partial<ShareQuotaLimits> {
  const limits: Record<string, number> = {}
  for (const [name, value] of Object.entries(body)) {
    if (notResources.has(name) || value === null) continue
    if (!known.has(name)) {
      throw new DomainError('invalid', `Bad key(s) in quota set: ${name.slice(0, 80)}.`)
    }
    const text = typeof value === 'number' || typeof value === 'string' ? String(value).trim() : ''
    const limit = /^-?\d{1,10}$/.test(text) ? Number(text) : Number.NaN
    if (!(limit >= -1 && limit <= maxQuota)) {
      throw new DomainError(
        'invalid',
        `Quota limit ${name} must be a whole number from -1 (unlimited) to ${maxQuota}.`,
      )
    }
    limits[name] = limit
  }
  if (Object.keys(limits).length === 0) throw new DomainError('invalid', 'The request names no quota.')
  return limits
}

/** What a microversion knows of; of one share type only what has a type. */
function shown(call: ShareCall): ShareQuotaResource[] {
  const since = (version: string): boolean => atLeast(call.version, version)
  const ofType = queryText(call, 'share_type') !== undefined
  return shareQuotaResources.filter((resource) => {
    switch (resource) {
      case 'share_networks':
        return !ofType
      case 'share_groups':
      case 'share_group_snapshots':
        return since('2.40') && !ofType
      case 'share_replicas':
      case 'replica_gigabytes':
        return since('2.53')
      case 'per_share_gigabytes':
        return since('2.62')
      case 'backups':
      case 'backup_gigabytes':
        return since('2.80')
      case 'encryption_keys':
        return since('2.90')
      default:
        return true
    }
  })
}

const view = (call: ShareCall, limits: ShareQuotaLimits) =>
  Object.fromEntries(shown(call).map((resource) => [resource, limits[resource]]))

function targetOf(call: ShareCall): ShareQuotaTarget {
  const userId = queryText(call, 'user_id')
  const shareType = queryText(call, 'share_type')
  if (shareType !== undefined && !atLeast(call.version, '2.39')) {
    throw new DomainError(
      'invalid',
      "'share_type' key is not supported by this microversion. Use 2.39 or greater.",
    )
  }
  return {
    projectId: param(call, 'target_id'),
    ...(userId !== undefined && userId !== '' && { userId }),
    ...(shareType !== undefined && shareType !== '' && { shareType }),
  }
}

export function registerQuotas(routes: ShareRoutes, quotas: ShareQuotas): void {
  for (const [path, versions] of [
    ['/quota-sets/:target_id', { since: '2.7' }],
    ['/os-quota-sets/:target_id', { until: '2.6' }],
  ] as const) {
    routes.get(
      path,
      async (call) => {
        const { limits } = await quotas.show(call.principal, targetOf(call))
        return ok({ quota_set: { id: param(call, 'target_id'), ...view(call, limits) } })
      },
      versions,
    )
    routes.get(
      `${path}/defaults`,
      async (call) => {
        const limits = await quotas.defaults(call.principal, param(call, 'target_id'))
        return ok({ quota_set: { id: param(call, 'target_id'), ...view(call, limits) } })
      },
      versions,
    )
    routes.put(
      path,
      async (call) => {
        const asked = parseSet(call.body).quota_set
        const options = { force: flag(asked['force'], 'force') }
        const limits = await quotas.update(call.principal, targetOf(call), limitsOf(asked), options)
        return ok({ quota_set: view(call, limits) })
      },
      versions,
    )
    routes.delete(
      path,
      async (call) => {
        await quotas.clear(call.principal, targetOf(call))
        return accepted()
      },
      versions,
    )
  }
  registerDetail(routes, quotas)
  registerClasses(routes, quotas)
  registerLimits(routes, quotas)
}

function registerDetail(routes: ShareRoutes, quotas: ShareQuotas): void {
  routes.get(
    '/quota-sets/:target_id/detail',
    async (call) => {
      const { limits, usage } = await quotas.show(call.principal, targetOf(call))
      const detail = shown(call).map((resource) => [
        resource,
        { limit: limits[resource], in_use: usedOfShares(usage, resource), reserved: 0 },
      ])
      return ok({ quota_set: { id: param(call, 'target_id'), ...Object.fromEntries(detail) } })
    },
    { since: '2.25' },
  )
}

function registerClasses(routes: ShareRoutes, quotas: ShareQuotas): void {
  for (const [path, versions] of [
    ['/quota-class-sets/:class_name', { since: '2.7' }],
    ['/os-quota-class-sets/:class_name', { until: '2.6' }],
  ] as const) {
    routes.get(
      path,
      async (call) => {
        const limits = await quotas.showClass(call.principal)
        return ok({ quota_class_set: { id: param(call, 'class_name'), ...view(call, limits) } })
      },
      versions,
    )
    routes.put(
      path,
      async (call) => {
        const asked = limitsOf(parseClass(call.body).quota_class_set)
        const limits = await quotas.updateClass(call.principal, param(call, 'class_name'), asked)
        return ok({ quota_class_set: view(call, limits) })
      },
      versions,
    )
  }
}

function registerLimits(routes: ShareRoutes, quotas: ShareQuotas): void {
  routes.get('/limits', async (call) => {
    const since = (version: string): boolean => atLeast(call.version, version)
    const { limits, usage } = await quotas.own(call.principal)
    return ok({
      limits: {
        rate: [],
        absolute: {
          maxTotalShares: limits.shares,
          maxTotalShareGigabytes: limits.gigabytes,
          maxTotalShareSnapshots: limits.snapshots,
          maxTotalSnapshotGigabytes: limits.snapshot_gigabytes,
          maxTotalShareNetworks: limits.share_networks,
          totalSharesUsed: usage.shares,
          totalShareGigabytesUsed: usage.gigabytes,
          totalShareSnapshotsUsed: usage.snapshots,
          totalSnapshotGigabytesUsed: usage.snapshot_gigabytes,
          totalShareNetworksUsed: 0,
          ...(since('2.53') && {
            maxTotalShareReplicas: limits.share_replicas,
            maxTotalReplicaGigabytes: limits.replica_gigabytes,
            totalShareReplicasUsed: 0,
            totalReplicaGigabytesUsed: 0,
          }),
          ...(since('2.58') && {
            maxTotalShareGroups: limits.share_groups,
            maxTotalShareGroupSnapshots: limits.share_group_snapshots,
            totalShareGroupsUsed: 0,
            totalShareGroupSnapshotsUsed: 0,
          }),
          ...(since('2.80') && {
            maxTotalShareBackups: limits.backups,
            maxTotalBackupGigabytes: limits.backup_gigabytes,
            totalShareBackupsUsed: 0,
            totalBackupGigabytesUsed: 0,
          }),
        },
      },
    })
  })
}
