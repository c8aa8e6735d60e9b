import { DomainError } from '@volant/contract'
import { Type } from 'typebox'
import type { Quotas } from '../../app/quota.ts'
import { maxQuota, quotaResources, usedOf, type QuotaLimits, type QuotaUsage } from '../../domain/quota.ts'
import { parser } from '../parse.ts'
import { booleanOf, ok, param, queryText, type VolumeCall, type VolumeRoutes } from './call.ts'

const parseSet = parser(Type.Object({ quota_set: Type.Record(Type.String(), Type.Unknown()) }))
const parseClass = parser(Type.Object({ quota_class_set: Type.Record(Type.String(), Type.Unknown()) }))

const known = new Set<string>(quotaResources)

/** Resources of other kinds, such as `volumes_lvm`, are Cinder's per-type quotas. */
function limitsOf(body: Record<string, unknown>): Partial<QuotaLimits> {
  const limits: Record<string, number> = {}
  for (const [name, value] of Object.entries(body)) {
    if (name === 'tenant_id' || name === 'class_name' || name === 'id' || name === 'skip_validation') continue
    if (!known.has(name)) {
      throw new DomainError(
        'invalid',
        `There is no quota '${name.slice(0, 80)}'. There are: ${quotaResources.join(', ')}.`,
      )
    }
    const text = typeof value === 'number' || typeof value === 'string' ? String(value).trim() : ''
    const limit = /^-?\d{1,10}$/.test(text) ? Number(text) : Number.NaN
    if (!(limit >= -1 && limit <= maxQuota)) {
      throw new DomainError(
        'invalid',
        `Quota ${name} must be a whole number from -1 (unlimited) to ${maxQuota}.`,
      )
    }
    limits[name] = limit
  }
  if (Object.keys(limits).length === 0) throw new DomainError('invalid', 'The request names no quota.')
  return limits
}

const withUsage = (limits: QuotaLimits, usage: QuotaUsage) =>
  Object.fromEntries(
    quotaResources.map((resource) => [
      resource,
      { limit: limits[resource], in_use: usedOf(usage, resource), reserved: 0 },
    ]),
  )

const target = (call: VolumeCall): string => param(call, 'target_id')

export function registerQuotas(routes: VolumeRoutes, quotas: Quotas): void {
  routes.get('/os-quota-sets/:target_id', async (call) => {
    const usage = booleanOf(queryText(call, 'usage') ?? 'false')
    if (usage === undefined) throw new DomainError('invalid', 'usage must be true or false.')
    const found = await quotas.show(call.principal, target(call))
    return ok({
      quota_set: { id: target(call), ...(usage ? withUsage(found.limits, found.usage) : found.limits) },
    })
  })
  routes.get('/os-quota-sets/:target_id/defaults', async (call) =>
    ok({ quota_set: { id: target(call), ...(await quotas.defaults(call.principal, target(call))) } }),
  )
  routes.put('/os-quota-sets/:target_id', async (call) => {
    const limits = limitsOf(parseSet(call.body).quota_set)
    return ok({ quota_set: await quotas.update(call.principal, target(call), limits) })
  })
  routes.delete('/os-quota-sets/:target_id', async (call) => {
    await quotas.clear(call.principal, target(call))
    return ok(undefined)
  })
  routes.get('/os-quota-class-sets/:target_id', async (call) =>
    ok({ quota_class_set: { id: target(call), ...(await quotas.showClass(call.principal, target(call))) } }),
  )
  routes.put('/os-quota-class-sets/:target_id', async (call) => {
    const limits = limitsOf(parseClass(call.body).quota_class_set)
    return ok({ quota_class_set: await quotas.updateClass(call.principal, target(call), limits) })
  })
  routes.get('/limits', async (call) => {
    const { limits, usage } = await quotas.own(call.principal)
    return ok({
      limits: {
        rate: [],
        absolute: {
          maxTotalVolumes: limits.volumes,
          maxTotalVolumeGigabytes: limits.gigabytes,
          maxTotalSnapshots: limits.snapshots,
          maxTotalBackups: limits.backups,
          maxTotalBackupGigabytes: limits.backup_gigabytes,
          totalVolumesUsed: usage.volumes,
          totalGigabytesUsed: usage.gigabytes,
          totalSnapshotsUsed: usage.snapshots,
          totalBackupsUsed: 0,
          totalBackupGigabytesUsed: 0,
        },
      },
    })
  })
}
