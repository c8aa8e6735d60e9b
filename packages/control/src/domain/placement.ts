import { gib } from './volume.ts'

/** How many times a pool's size may be promised to thin volumes. Cinder's default. */
export const maxOverSubscriptionRatio = 20

/** One pool as the scheduler sees it. */
export interface PoolCandidate {
  flexvolId: string
  /** `LIF:/junction`. */
  pool: string
  backend: string
  /** The storage node's machine. */
  machine: string
  availabilityZone: string
  enabled: boolean
  /** Why the pool's storage does not answer; absent: it does. */
  down?: string
  /** The operation that empties the aggregate where its new images would be made; absent: none does. */
  vacatedBy?: string
  totalBytes: number
  /** Bytes that can still be written, reservations taken off. */
  freeBytes: number
  /** Sum of the sizes that were promised to volumes. */
  provisionedBytes: number
}

export interface PlacementRequest {
  sizeBytes: number
  /** Bytes that are written at once: an image's or source's data. 0 for an empty volume. */
  dataBytes: number
  availabilityZone: string | null
  extraSpecs: Readonly<Record<string, string>>
  /** The volume must be on this machine: its source's data is there. */
  machine?: string
}

/** The pools that will do, best first, and why each of the others will not. */
export interface Placement {
  fitting: PoolCandidate[]
  rejected: { pool: string; backend: string; reason: string }[]
}

const amount = (bytes: number): string => `${(bytes / gib).toFixed(2)} GiB`

/** What may still be promised: Cinder's virtual free capacity of a thin pool. */
export const virtualFreeBytes = (pool: PoolCandidate): number =>
  Math.min(
    pool.freeBytes * maxOverSubscriptionRatio,
    pool.totalBytes * maxOverSubscriptionRatio - pool.provisionedBytes,
  )

type Filter = (request: PlacementRequest, pool: PoolCandidate) => string | undefined

const filters: Filter[] = [
  (_, pool) => (pool.enabled ? undefined : 'its service is disabled'),
  (_, pool) => (pool.down === undefined ? undefined : `its storage does not answer: ${pool.down}`),
  (_, pool) =>
    pool.vacatedBy === undefined
      ? undefined
      : `its aggregate is being emptied by operation ${pool.vacatedBy}`,
  (request, pool) =>
    request.availabilityZone === null || request.availabilityZone === pool.availabilityZone
      ? undefined
      : `it is in availability zone ${pool.availabilityZone}`,
  (request, pool) => {
    const wrong = unmetSpecs(request.extraSpecs, pool)
    return wrong.length === 0 ? undefined : `the volume type asks for ${wrong.join(' and ')}`
  },
  (request, pool) =>
    request.machine === undefined || request.machine === pool.machine
      ? undefined
      : 'the source volume is on another machine',
  (request, pool) =>
    request.dataBytes <= pool.freeBytes
      ? undefined
      : `${amount(request.dataBytes)} are to be written and ${amount(pool.freeBytes)} are free`,
  (request, pool) =>
    request.sizeBytes <= virtualFreeBytes(pool)
      ? undefined
      : `${amount(request.sizeBytes)} are asked for and ${amount(Math.max(0, virtualFreeBytes(pool)))} can still be provisioned`,
]

/**
 * Filters and orders the pools: first the one that has promised the least of what it may promise. What is written
 * there just now does not count, as in Cinder's weigher of thin pools, so the order is the same each time. Equal
 * pools keep the order of `pools`, which is the configuration's.
 */
export function placeVolume(request: PlacementRequest, pools: readonly PoolCandidate[]): Placement {
  const placement: Placement = { fitting: [], rejected: [] }
  for (const pool of pools) {
    const reason = filters.map((filter) => filter(request, pool)).find((found) => found !== undefined)
    if (reason === undefined) placement.fitting.push(pool)
    else placement.rejected.push({ pool: pool.pool, backend: pool.backend, reason })
  }
  placement.fitting.sort((a, b) => weight(b) - weight(a))
  return placement
}

/** Whole GiB, so that file systems that differ by some blocks are equal. */
const weight = (pool: PoolCandidate): number =>
  Math.floor((pool.totalBytes * maxOverSubscriptionRatio - pool.provisionedBytes) / gib)

/** The text for the user where no pool will do. */
export function noPoolMessage(placement: Placement): string {
  if (placement.rejected.length === 0) return 'No valid backend was found: no pool is configured.'
  const reasons = placement.rejected.map((r) => `${r.backend}#${r.pool}: ${r.reason}`)
  return `No valid backend was found. ${reasons.join('; ')}.`
}

/**
 * The extra specs of a volume type that the pool does not meet. `volume_backend_name` and `pool_name` name a
 * place; the capabilities that every pool here has or has not are compared too; keys of other scopes
 * (`netapp:…`) and unknown ones are not the scheduler's.
 */
export function unmetSpecs(
  extraSpecs: Readonly<Record<string, string>>,
  pool: Pick<PoolCandidate, 'backend' | 'pool'>,
): string[] {
  const has: Record<string, string> = {
    volume_backend_name: pool.backend,
    pool_name: pool.pool,
    ...poolCapabilities,
  }
  return Object.entries(extraSpecs)
    .map(([key, wanted]) => [key.replace(/^capabilities:/, ''), wanted] as const)
    .filter(([key, wanted]) => has[key] !== undefined && !specMatches(wanted, has[key]))
    .map(([key, wanted]) => `${key}=${wanted}`)
}

/** What all pools have in common, as `scheduler-stats/get_pools` shows it and extra specs may ask for it. */
export const poolCapabilities = {
  vendor_name: 'Volant',
  storage_protocol: 'nbd',
  thin_provisioning_support: 'True',
  thick_provisioning_support: 'False',
  multiattach: 'False',
  replication_enabled: 'False',
  online_extend_support: 'True',
} as const

/** `<is> True`, `<or> a <or> b`, `<in> part`, `s== text`, or the text itself, as in Cinder's extra specs. */
export function specMatches(wanted: string, value: string): boolean {
  const same = (text: string): boolean => text.trim().toLowerCase() === value.toLowerCase()
  const [operator = '', ...rest] = wanted.trim().split(/\s+/)
  switch (operator) {
    case '<is>':
    case 's==':
      return same(rest.join(' '))
    case '<in>':
      return value.includes(rest.join(' '))
    case '<or>':
      return wanted
        .split('<or>')
        .filter((text) => text.trim() !== '')
        .some(same)
    default:
      return same(wanted)
  }
}
