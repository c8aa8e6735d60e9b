import { DomainError } from '@volant/contract'
import type { PoolListing, PoolView } from '../../app/pool.ts'
import { maxOverSubscriptionRatio, poolCapabilities } from '../../domain/placement.ts'
import { enforce } from '../../domain/policy.ts'
import { gib } from '../../domain/volume.ts'
import { booleanOf, ok, param, queryText, type VolumeCall, type VolumeRoutes } from './call.ts'

const gibOf = (bytes: number): number => Math.round((bytes / gib) * 100) / 100

const capabilitiesOf = (pool: PoolView, now: Date) => ({
  vendor_name: poolCapabilities.vendor_name,
  driver_version: '1.0.0',
  storage_protocol: poolCapabilities.storage_protocol,
  pool_name: pool.candidate.pool,
  volume_backend_name: pool.candidate.backend,
  total_capacity_gb: gibOf(pool.candidate.totalBytes),
  free_capacity_gb: gibOf(pool.candidate.freeBytes),
  allocated_capacity_gb: pool.allocatedGib,
  provisioned_capacity_gb: gibOf(pool.candidate.provisionedBytes),
  reserved_percentage: 0,
  max_over_subscription_ratio: maxOverSubscriptionRatio.toFixed(1),
  thin_provisioning_support: true,
  thick_provisioning_support: false,
  multiattach: false,
  online_extend_support: true,
  qos_support: false,
  replication_enabled: false,
  backend_state: pool.candidate.down === undefined ? 'up' : 'down',
  location_info: `aggregates:${pool.candidate.backend}:${pool.candidate.pool}`,
  filter_function: null,
  goodness_function: null,
  timestamp: now.toISOString().replace('Z', '000'),
})

export function registerPools(routes: VolumeRoutes, pools: PoolListing, now: () => Date): void {
  routes.get('/scheduler-stats/get_pools', async (call) => {
    const name = queryText(call, 'name')
    const detail = booleanOf(queryText(call, 'detail') ?? 'false')
    if (detail === undefined) throw new DomainError('invalid', 'detail must be true or false.')
    const found = (await pools.list(call.principal)).filter(
      (pool) => name === undefined || pool.host === name,
    )
    return ok({
      pools: found.map((pool) =>
        detail ? { name: pool.host, capabilities: capabilitiesOf(pool, now()) } : { name: pool.host },
      ),
    })
  })
  routes.get('/capabilities/:host', async (call) => ok(await backendCapabilities(pools, call)))
}

/** Of one backend, `HOST@BACKEND`. */
async function backendCapabilities(pools: PoolListing, call: VolumeCall) {
  enforce(call.principal, 'volume_extension:capabilities', 'admin')
  const host = param(call, 'host')
  const found = (await pools.list(call.principal)).filter((pool) => pool.host.split('#')[0] === host)
  const first = found[0]
  if (first === undefined) {
    throw new DomainError('notFound', `Service cinder-volume on host ${host} could not be found.`)
  }
  return {
    namespace: `OS::Storage::Capabilities::${host}`,
    vendor_name: poolCapabilities.vendor_name,
    volume_backend_name: first.candidate.backend,
    pool_name: first.candidate.pool,
    driver_version: '1.0.0',
    storage_protocol: poolCapabilities.storage_protocol,
    display_name: `Capabilities of the Volant backend ${first.candidate.backend}`,
    description: 'Blocks served by storage daemons; volumes move between pools while in use.',
    visibility: null,
    replication_targets: [],
    properties: {
      thin_provisioning: {
        title: 'Thin Provisioning',
        description: 'Sets thin provisioning.',
        type: 'boolean',
      },
    },
  }
}
