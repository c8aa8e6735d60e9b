import { DomainError, isDomainError } from '@volant/contract'
import { Type } from 'typebox'
import type { BlockServices, BlockServiceView } from '../../app/block-service.ts'
import type { PoolListing } from '../../app/pool.ts'
import { enforce } from '../../domain/policy.ts'
import { atLeast } from '../microversion.ts'
import { longText, nameText, parser } from '../parse.ts'
import { ok, param, queryText, type VolumeCall, type VolumeRoutes } from './call.ts'

const parseChange = parser(
  Type.Object({
    host: nameText({ minLength: 1 }),
    binary: Type.Optional(Type.Union([nameText(), Type.Null()])),
    disabled_reason: Type.Optional(Type.Union([longText(255), Type.Null()])),
  }),
)

export function registerBlockServices(
  routes: VolumeRoutes,
  {
    services,
    pools,
    zone,
    now,
  }: { services: BlockServices; pools: PoolListing; zone: string; now: () => Date },
): void {
  const timestamp = () =>
    now()
      .toISOString()
      .replace(/\.\d+Z$/, '.000000')
  routes.get('/os-services', async (call) => {
    const host = queryText(call, 'host')
    const binary = queryText(call, 'binary')
    const found = await services.list(call.principal, {
      ...(host !== undefined && host !== '' && { host }),
      ...(binary !== undefined && binary !== '' && { binary }),
    })
    return ok({ services: found.map((service) => serviceView(call, service, zone, timestamp())) })
  })
  routes.put('/os-services/:action', (call) => change(services, call, param(call, 'action')))
  registerHosts(routes, services, pools, zone, timestamp)
  routes.get('/os-availability-zone', (call) => {
    enforce(call.principal, 'volume:availability_zone_list', 'reader')
    return ok({ availabilityZoneInfo: [{ zoneName: zone, zoneState: { available: true } }] })
  })
}

/** The services live as long as this process: whoever reads this list finds them up. */
const serviceView = (call: VolumeCall, service: BlockServiceView, zone: string, now: string) => ({
  binary: service.binary,
  host: service.host,
  zone,
  status: service.disabled ? 'disabled' : 'enabled',
  state: 'up',
  updated_at: now,
  ...(service.backendState !== undefined &&
    atLeast(call.version, '3.49') && { backend_state: service.backendState }),
  ...(atLeast(call.version, '3.7') && { cluster: null }),
  disabled_reason: service.disabledReason,
  ...(service.binary === 'cinder-volume' && {
    replication_status: 'disabled',
    active_backend_id: null,
    frozen: service.frozen,
  }),
})

async function change(services: BlockServices, call: VolumeCall, action: string) {
  const asked = parseChange(call.body)
  const service = {
    host: asked.host,
    ...(asked.binary !== undefined && asked.binary !== null && { binary: asked.binary }),
  }
  const answer = {
    host: asked.host,
    service: asked.binary ?? 'cinder-volume',
    binary: asked.binary ?? 'cinder-volume',
  }
  switch (action) {
    case 'enable':
      await services.change(call.principal, service, { disabled: false, disabledReason: null })
      return ok({ ...answer, disabled: false, status: 'enabled' })
    case 'disable':
      await services.change(call.principal, service, { disabled: true, disabledReason: null })
      return ok({ ...answer, disabled: true, status: 'disabled' })
    case 'disable-log-reason': {
      const reason = asked.disabled_reason?.trim() ?? ''
      if (reason === '')
        throw new DomainError('invalid', 'Disabled reason contains invalid characters or is too long')
      await services.change(call.principal, service, { disabled: true, disabledReason: reason })
      return ok({ ...answer, disabled: true, status: 'disabled', disabled_reason: reason })
    }
    case 'freeze':
    case 'thaw':
      await freeze(services, call, asked.host, action === 'freeze')
      return ok(undefined)
    default:
      throw new DomainError(
        'notFound',
        `Unknown action: ${action}. There are enable, disable, disable-log-reason.`,
      )
  }
}

/** Cinder answers 400 for a host that is none, and 404 to the other actions. */
async function freeze(
  services: BlockServices,
  call: VolumeCall,
  host: string,
  frozen: boolean,
): Promise<void> {
  try {
    await services.change(call.principal, { host, binary: 'cinder-volume' }, { frozen })
  } catch (error) {
    if (!isDomainError(error) || error.code !== 'notFound') throw error
    throw new DomainError('invalid', error.message, { cause: error })
  }
}

function registerHosts(
  routes: VolumeRoutes,
  services: BlockServices,
  pools: PoolListing,
  zone: string,
  timestamp: () => string,
): void {
  routes.get('/os-hosts', async (call) => {
    enforce(call.principal, 'volume_extension:hosts', 'admin')
    const found = await services.list(call.principal, {})
    return ok({
      hosts: found.map((service) => ({
        service: service.binary,
        host_name: service.host,
        'service-status': 'available',
        'service-state': service.disabled ? 'disabled' : 'enabled',
        zone,
        'last-update': timestamp(),
      })),
    })
  })
  routes.get('/os-hosts/:host', async (call) => {
    enforce(call.principal, 'volume_extension:hosts', 'admin')
    const host = param(call, 'host')
    const found = (await pools.list(call.principal)).filter((pool) => pool.host.split('#')[0] === host)
    if (found.length === 0) throw new DomainError('notFound', `Host ${host} could not be found.`)
    const total = (key: 'allocatedGib'): number => found.reduce((sum, pool) => sum + pool[key], 0)
    return ok({
      host: [
        {
          resource: {
            host,
            project: '(total)',
            volume_count: '0',
            total_volume_gb: String(total('allocatedGib')),
            snapshot_count: '0',
            total_snapshot_gb: '0',
          },
        },
      ],
    })
  })
}
