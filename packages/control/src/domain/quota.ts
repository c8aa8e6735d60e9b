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
  snapshots: number
  /** Of volumes and snapshots together, as by Cinder's default. */
  gigabytes: number
}

/** What counts of a resource as used. */
export const usedOf = (usage: QuotaUsage, resource: QuotaResource): number =>
  resource === 'volumes' || resource === 'snapshots' || resource === 'gigabytes' ? usage[resource] : 0

/**
 * Throws `overQuota` with Cinder's words where the growth does not fit. Run in the transaction that makes the
 * growth, so that requests at the same time cannot exceed a limit together.
 */
export function requireQuota(
  limits: QuotaLimits,
  usage: QuotaUsage,
  growth: {
    volumes?: number
    snapshots?: number
    gigabytes: number
    /** The size of the volume that is made or grown. */
    volumeGib?: number
  },
): void {
  const perVolume = limits.per_volume_gigabytes
  const { volumes = 0, snapshots = 0, volumeGib = 0 } = growth
  if (perVolume >= 0 && volumeGib > perVolume) {
    throw new DomainError(
      'overQuota',
      `Requested volume size ${volumeGib}G is larger than maximum allowed limit ${perVolume}G.`,
    )
  }
  if (limits.gigabytes >= 0 && usage.gigabytes + growth.gigabytes > limits.gigabytes) {
    throw new DomainError(
      'overQuota',
      `Requested volume or snapshot exceeds allowed gigabytes quota. Requested ${growth.gigabytes}G, quota is ` +
        `${limits.gigabytes}G and ${usage.gigabytes}G has been consumed.`,
    )
  }
  if (snapshots > 0 && limits.snapshots >= 0 && usage.snapshots + snapshots > limits.snapshots) {
    throw new DomainError(
      'overQuota',
      `Maximum number of snapshots allowed (${limits.snapshots}) exceeded for quota 'snapshots'.`,
    )
  }
  if (volumes > 0 && limits.volumes >= 0 && usage.volumes + volumes > limits.volumes) {
    throw new DomainError(
      'overQuota',
      `Maximum number of volumes allowed (${limits.volumes}) exceeded for quota 'volumes'.`,
    )
  }
}
