import { DomainError } from '@volant/contract'

/** The resources of Block Storage quotas. The ones that Volant does not have are shown and settable, as Cinder's. */
export const quotaResources = [
  'volumes',
  'per_volume_gigabytes',
  'snapshots',
  'gigabytes',
  'backups',
  'backup_gigabytes',
  'groups',
] as const
export type QuotaResource = (typeof quotaResources)[number]

/** Cinder's defaults. -1 is unlimited. */
export const defaultQuotas: Record<QuotaResource, number> = {
  volumes: 10,
  per_volume_gigabytes: -1,
  snapshots: 10,
  gigabytes: 1000,
  backups: 10,
  backup_gigabytes: 1000,
  groups: 10,
}

/** The largest limit that can be set. */
export const maxQuota = 2_147_483_647

export type QuotaLimits = Record<QuotaResource, number>

export interface QuotaUsage {
  volumes: number
  gigabytes: number
}

/**
 * Throws `overQuota` with Cinder's words where the growth does not fit. Run in the transaction that makes the
 * growth, so that requests at the same time cannot exceed a limit together.
 */
export function requireQuota(
  limits: QuotaLimits,
  usage: QuotaUsage,
  growth: { volumes: number; gigabytes: number; volumeGib: number },
): void {
  const perVolume = limits.per_volume_gigabytes
  if (perVolume >= 0 && growth.volumeGib > perVolume) {
    throw new DomainError(
      'overQuota',
      `Requested volume size ${growth.volumeGib}G is larger than maximum allowed limit ${perVolume}G.`,
    )
  }
  if (limits.gigabytes >= 0 && usage.gigabytes + growth.gigabytes > limits.gigabytes) {
    throw new DomainError(
      'overQuota',
      `Requested volume or snapshot exceeds allowed gigabytes quota. Requested ${growth.gigabytes}G, quota is ` +
        `${limits.gigabytes}G and ${usage.gigabytes}G has been consumed.`,
    )
  }
  if (growth.volumes > 0 && limits.volumes >= 0 && usage.volumes + growth.volumes > limits.volumes) {
    throw new DomainError(
      'overQuota',
      `Maximum number of volumes allowed (${limits.volumes}) exceeded for quota 'volumes'.`,
    )
  }
}
