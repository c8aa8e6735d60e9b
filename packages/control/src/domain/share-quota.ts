import { DomainError } from '@volant/contract'

/** The resources of share quotas. The ones that Volant does not have are shown and settable, as Manila's. */
export const shareQuotaResources = [
  'shares',
  'gigabytes',
  'snapshots',
  'snapshot_gigabytes',
  'share_networks',
  'share_groups',
  'share_group_snapshots',
  'share_replicas',
  'replica_gigabytes',
  'per_share_gigabytes',
  'backups',
  'backup_gigabytes',
  'encryption_keys',
] as const
export type ShareQuotaResource = (typeof shareQuotaResources)[number]
export type ShareQuotaLimits = Record<ShareQuotaResource, number>

/** Manila's defaults. -1 is unlimited. */
export const defaultShareQuotas: ShareQuotaLimits = {
  shares: 50,
  gigabytes: 1000,
  snapshots: 50,
  snapshot_gigabytes: 1000,
  share_networks: 10,
  share_groups: 50,
  share_group_snapshots: 50,
  share_replicas: 100,
  replica_gigabytes: 1000,
  per_share_gigabytes: -1,
  backups: 10,
  backup_gigabytes: 1000,
  encryption_keys: 100,
}

/** Whose limits: a project's, or within it those of one user or of one share type. */
export interface ShareQuotaScope {
  projectId: string
  userId?: string
  shareTypeId?: string
}

export interface ShareQuotaUsage {
  shares: number
  gigabytes: number
  snapshots: number
  snapshot_gigabytes: number
}

export const usedOfShares = (usage: ShareQuotaUsage, resource: ShareQuotaResource): number =>
  resource in usage ? usage[resource as keyof ShareQuotaUsage] : 0

/**
 * Throws `overQuota` with Manila's words where the growth does not fit. Run in the transaction that makes the growth, so
 * that requests at the same time cannot exceed a limit together.
 */
export function requireShareQuota(
  limits: ShareQuotaLimits,
  usage: ShareQuotaUsage,
  growth: Partial<ShareQuotaUsage>,
): void {
  const over = (resource: keyof ShareQuotaUsage): boolean =>
    (growth[resource] ?? 0) > 0 &&
    limits[resource] >= 0 &&
    usage[resource] + (growth[resource] ?? 0) > limits[resource]
  const figures = (resource: keyof ShareQuotaUsage): string =>
    `Requested ${growth[resource]}G, quota is ${limits[resource]}G and ${usage[resource]}G has been consumed.`
  const refuse = (message: string): never => {
    throw new DomainError('overQuota', message)
  }
  if (over('gigabytes')) {
    refuse(
      `Requested share exceeds allowed project/user or share type gigabytes quota. ${figures('gigabytes')}`,
    )
  }
  if (over('shares')) {
    refuse(
      `Maximum number of shares allowed (${limits.shares}) either per project/user or share type quota is exceeded.`,
    )
  }
  if (over('snapshot_gigabytes')) {
    refuse(
      `Requested snapshot exceeds allowed project/user or share type gigabytes quota. ${figures('snapshot_gigabytes')}`,
    )
  }
  if (over('snapshots')) {
    refuse(
      `Maximum number of snapshots allowed (${limits.snapshots}) either per project/user or share type quota is exceeded.`,
    )
  }
}

/** Throws `overQuota` for a share that is larger than one may be. */
export function requireShareSize(limits: ShareQuotaLimits, sizeGib: number): void {
  const limit = limits.per_share_gigabytes
  if (limit < 0 || sizeGib <= limit) return
  throw new DomainError(
    'overQuota',
    `Requested share size ${sizeGib} is larger than maximum allowed limit ${limit}.`,
  )
}
