import { DomainError } from '@volant/contract'
import type { SharePools, SharePoolView } from '../../app/share-pool.ts'
import type { ShareTypes } from '../../app/share-type.ts'
import { maxOverSubscriptionRatio } from '../../domain/placement.ts'
import { sharePoolCapabilities, unmetShareSpecs } from '../../domain/share-placement.ts'
import { gib } from '../../domain/volume.ts'
import { ok } from '../answer.ts'
import { atLeast } from '../microversion.ts'
import { queryText, type ShareCall, type ShareRoutes } from './call.ts'
import { queryPairs } from './list-query.ts'

const gibOf = (bytes: number): number => Math.round((bytes / gib) * 100) / 100

const capabilitiesOf = (pool: SharePoolView, now: Date) => ({
  ...sharePoolCapabilities,
  driver_version: '1.0.0',
  pool_name: pool.pool,
  share_backend_name: pool.backend,
  netapp_aggregate: pool.pool,
  total_capacity_gb: gibOf(pool.totalBytes),
  free_capacity_gb: gibOf(pool.freeBytes),
  allocated_capacity_gb: pool.allocatedGib,
  provisioned_capacity_gb: pool.allocatedGib,
  reserved_percentage: 0,
  reserved_snapshot_percentage: 0,
  reserved_share_extend_percentage: 0,
  max_over_subscription_ratio: maxOverSubscriptionRatio,
  max_shares_per_share_server: -1,
  max_share_server_size: -1,
  share_group_stats: { consistent_snapshot_support: null },
  replication_domain: null,
  security_service_update_support: false,
  share_server_multiple_subnet_support: false,
  availability_zone_name: pool.availabilityZone,
  sg_consistent_snapshot_support: null,
  backend_state: pool.down === null ? 'up' : 'down',
  enabled: pool.enabled,
  filter_function: null,
  goodness_function: null,
  timestamp: now.toISOString().replace('Z', '000'),
})

export function registerPools(
  routes: ShareRoutes,
  services: { pools: SharePools; types: ShareTypes; now: () => Date },
): void {
  const list = (detail: boolean) => async (call: ShareCall) => {
    const found = (await services.pools.list(call.principal)).filter(await filterOf(services.types, call))
    return ok({
      pools: found.map((pool) => ({
        name: pool.name,
        host: pool.host,
        backend: pool.backend,
        pool: pool.pool,
        ...(detail && { capabilities: capabilitiesOf(pool, services.now()) }),
      })),
    })
  }
  routes.get('/scheduler-stats/pools', list(false))
  routes.get('/scheduler-stats/pools/detail', list(true))
}

async function filterOf(types: ShareTypes, call: ShareCall): Promise<(pool: SharePoolView) => boolean> {
  const patterns = (['host', 'backend', 'pool'] as const).flatMap((key) => {
    const text = queryText(call, key)
    return text === undefined || text === '' ? [] : [{ key, matches: matcher(text, key) }]
  })
  const asked = atLeast(call.version, '2.23') ? queryText(call, 'share_type') : undefined
  const type = asked === undefined || asked === '' ? null : await types.usable(call.principal, asked)
  const capabilities = queryPairs(call, 'capabilities') ?? {}
  return (pool) =>
    patterns.every(({ key, matches }) => matches(pool[key])) &&
    (type === null || unmetShareSpecs(type.extraSpecs, pool).length === 0) &&
    unmetShareSpecs(capabilities, pool).length === 0
}

/** Manila takes a regular expression; of those, `.*` (or `*`) is known here, and `^` and `$` at the ends. */
function matcher(text: string, key: string): (value: string) => boolean {
  if (text.length > 255) throw new DomainError('invalid', `Invalid input received: ${key} is too long.`)
  const parts = text.replace(/^\^/, '').replace(/\$$/, '').split(/\.?\*/)
  const [first = '', ...others] = parts
  const last = others.pop()
  return (value) => {
    if (last === undefined) return value === first
    if (!value.startsWith(first) || !value.endsWith(last)) return false
    let at = first.length
    for (const part of others) {
      const found = value.indexOf(part, at)
      if (found < 0) return false
      at = found + part.length
    }
    return at + last.length <= value.length
  }
}
