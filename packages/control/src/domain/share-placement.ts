import { maxOverSubscriptionRatio, specMatches } from './placement.ts'
import { booleanSpec } from './share-type.ts'
import { gib, type AggregatePlace } from './volume.ts'

/** An aggregate as the scheduler of shares sees it: Manila's pool. */
export interface SharePool {
  place: AggregatePlace
  cluster: string
  /** The Manila backend, such as `manila-lma`. */
  backend: string
  /** The aggregate's name: `HOST@manila-lma#aggr1`. */
  pool: string
  availabilityZone: string
  enabled: boolean
  /** Why it can't be used; null: it can. */
  down: string | null
  /** The operation that empties it; null: none does. */
  vacatedBy: string | null
  /** Images there can share blocks; null: not known. */
  reflink: boolean | null
  totalBytes: number
  /** Bytes that can still be written, reservations taken off. */
  freeBytes: number
  /** Sizes of the shares that are there. GiB. */
  allocatedGib: number
}

export interface SharePlacementRequest {
  sizeGib: number
  availabilityZone: string | null
  extraSpecs: Readonly<Record<string, string>>
  /** The share is made of a snapshot that is here: of this cluster, and there where it can share blocks. */
  source: ({ cluster: string } & AggregatePlace) | null
  /** Bytes that are written at once where blocks can't be shared with the snapshot. */
  dataBytes: number
}

/** What all pools have in common, as `scheduler-stats/pools/detail` shows it and extra specs may ask for it. */
export const sharePoolCapabilities = {
  driver_handles_share_servers: false,
  snapshot_support: true,
  create_share_from_snapshot_support: true,
  revert_to_snapshot_support: true,
  mount_snapshot_support: true,
  replication_type: null,
  thin_provisioning: true,
  dedupe: false,
  compression: false,
  qos: false,
  vendor_name: 'Volant',
  storage_protocol: 'NFS',
  ipv4_support: true,
  ipv6_support: true,
} as const

/** Why the pool will not do; null: it will. */
export function whyNot(request: SharePlacementRequest, pool: SharePool): string | null {
  if (!pool.enabled) return 'its service is disabled'
  if (pool.down !== null) return `it cannot be used: ${pool.down}`
  if (pool.vacatedBy !== null) return `it is being emptied by operation ${pool.vacatedBy}`
  if (request.availabilityZone !== null && request.availabilityZone !== pool.availabilityZone) {
    return `it is in availability zone ${pool.availabilityZone}`
  }
  if (request.source !== null && request.source.cluster !== pool.cluster) {
    return 'the snapshot is in another cluster'
  }
  const unmet = unmetShareSpecs(request.extraSpecs, pool)
  if (unmet.length > 0) return `the share type asks for ${unmet.join(' and ')}`
  const dataBytes = isNear(request, pool) && pool.reflink === true ? 0 : request.dataBytes
  if (dataBytes > pool.freeBytes) {
    return `${amount(dataBytes)} are to be written and ${amount(pool.freeBytes)} are free`
  }
  const promised = virtualFreeGib(pool)
  if (request.sizeGib > promised) {
    return `${request.sizeGib} GiB are asked for and ${Math.max(0, Math.floor(promised))} GiB can still be provisioned`
  }
  return null
}

/** The pool is where the snapshot is. */
const isNear = ({ source }: SharePlacementRequest, { place }: SharePool): boolean =>
  source !== null && place.node === source.node && place.aggregate === source.aggregate

const amount = (bytes: number): string => `${(bytes / gib).toFixed(2)} GiB`

const virtualFreeGib = (pool: SharePool): number =>
  Math.min(
    (pool.freeBytes / gib) * maxOverSubscriptionRatio,
    (pool.totalBytes / gib) * maxOverSubscriptionRatio - pool.allocatedGib,
  )

/**
 * The pools that will do, best first, and why each of the others will not. Best is where the snapshot is, with which
 * blocks can be shared; else what has promised the least of what it may promise. Equal ones keep their order.
 */
export function placeShare(
  request: SharePlacementRequest,
  pools: readonly SharePool[],
): { fitting: SharePool[]; rejected: { pool: SharePool; reason: string }[] } {
  const fitting: SharePool[] = []
  const rejected: { pool: SharePool; reason: string }[] = []
  for (const pool of pools) {
    const reason = whyNot(request, pool)
    if (reason === null) fitting.push(pool)
    else rejected.push({ pool, reason })
  }
  const near = (pool: SharePool): number => (isNear(request, pool) ? 1 : 0)
  fitting.sort((a, b) => near(b) - near(a) || weight(b) - weight(a))
  return { fitting, rejected }
}

/** Whole GiB, so that file systems that differ by some blocks are equal. */
const weight = (pool: SharePool): number =>
  Math.floor((pool.totalBytes / gib) * maxOverSubscriptionRatio - pool.allocatedGib)

/** The extra specs of a share type that the pool does not meet; keys of other scopes are not the scheduler's. */
export function unmetShareSpecs(
  extraSpecs: Readonly<Record<string, string>>,
  pool: Pick<SharePool, 'backend' | 'pool' | 'availabilityZone'>,
): string[] {
  const has: Record<string, unknown> = {
    ...sharePoolCapabilities,
    share_backend_name: pool.backend,
    pool_name: pool.pool,
    netapp_aggregate: pool.pool,
  }
  return Object.entries(extraSpecs)
    .map(([key, wanted]) => [key.replace(/^capabilities:/, ''), wanted] as const)
    .filter(([key, wanted]) => Object.hasOwn(has, key) && !isMet(wanted, has[key]))
    .map(([key, wanted]) => `${key}=${wanted}`)
    .concat(
      zones(extraSpecs['availability_zones']).length === 0 ||
        zones(extraSpecs['availability_zones']).includes(pool.availabilityZone)
        ? []
        : [`availability_zones=${extraSpecs['availability_zones']}`],
    )
}

const zones = (text: string | undefined): string[] =>
  (text ?? '')
    .split(',')
    .map((zone) => zone.trim())
    .filter((zone) => zone !== '')

/** What a pool can, it also can where it is not asked for: a type without snapshots is met by a pool with. */
function isMet(wanted: string, value: unknown): boolean {
  if (typeof value !== 'boolean') return specMatches(wanted, String(value))
  const asked = booleanSpec(wanted)
  return asked === undefined ? specMatches(wanted, String(value)) : value || !asked
}
