import { DomainError } from '@volant/contract'
import { Type } from 'typebox'
import type { ShareServices, ShareServiceView } from '../../app/share-service.ts'
import { enforce } from '../../domain/policy.ts'
import { ok } from '../answer.ts'
import { atLeast } from '../microversion.ts'
import { longText, nameText, parser } from '../parse.ts'
import { manilaTime, param, queryText, type ShareCall, type ShareRoutes } from './call.ts'

const parseChange = parser(
  Type.Object({
    host: nameText({ minLength: 1 }),
    binary: nameText({ minLength: 1 }),
    disabled_reason: Type.Optional(Type.Union([longText(255), Type.Null()])),
  }),
)

const view = (call: ShareCall, service: ShareServiceView) => ({
  id: service.id,
  binary: service.binary,
  host: service.host,
  zone: service.zone,
  status: service.disabled ? 'disabled' : 'enabled',
  state: service.state,
  updated_at: manilaTime(service.updatedAt),
  ...(atLeast(call.version, '2.83') && { disabled_reason: service.disabledReason }),
  ...(atLeast(call.version, '2.86') && { ensuring: false }),
})

export function registerShareServices(
  routes: ShareRoutes,
  { services, zone }: { services: ShareServices; zone: { name: string; id: string; createdAt: string } },
): void {
  for (const [path, versions] of [
    ['/services', { since: '2.7' }],
    ['/os-services', { until: '2.6' }],
  ] as const) {
    routes.get(
      path,
      async (call) => {
        const found = (await services.list(call.principal)).map((service) => view(call, service))
        const filters = ['host', 'binary', 'zone', 'state', 'status'] as const
        const matches = (one: (typeof found)[number]): boolean =>
          filters.every((key) => [undefined, '', one[key]].includes(queryText(call, key)))
        return ok({ services: found.filter(matches) })
      },
      versions,
    )
    routes.put(`${path}/:action`, (call) => change(services, call), versions)
  }
  const zones = (call: ShareCall) => {
    enforce(call.principal, 'availability_zone:index', 'reader')
    const { name, id, createdAt } = zone
    return ok({ availability_zones: [{ id, name, created_at: manilaTime(createdAt), updated_at: null }] })
  }
  routes.get('/availability-zones', zones, { since: '2.7' })
  routes.get('/os-availability-zone', zones, { until: '2.6' })
}

async function change(services: ShareServices, call: ShareCall) {
  const action = param(call, 'action')
  if (action !== 'enable' && action !== 'disable') {
    throw new DomainError('notFound', `Unknown action '${action}'. There are enable and disable.`)
  }
  const { host, binary, disabled_reason: given } = parseChange(call.body)
  const knowsReason = atLeast(call.version, '2.83')
  if (given != null && !knowsReason) {
    throw new DomainError(
      'invalid',
      "'disabled_reason' option is not supported by this microversion. Use 2.83 or greater microversion to be able to " +
        "set 'disabled_reason'.",
    )
  }
  const disabled = action === 'disable'
  const disabledReason = disabled ? (given?.trim() ?? null) : null
  await services.change(call.principal, { host, binary }, { disabled, disabledReason })
  return ok({
    host,
    binary,
    status: disabled ? 'disabled' : 'enabled',
    ...(knowsReason ? { disabled_reason: disabledReason } : { disabled }),
  })
}
