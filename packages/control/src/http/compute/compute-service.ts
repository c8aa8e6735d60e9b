import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { ComputeServices, ShownService } from '../../app/compute-service.ts'
import { nameText } from '../parse.ts'
import { microTime, paramOf, since } from './request.ts'
import { Query } from './query.ts'
import { bodyOf, boolean, hostName, requireKnown, strict, toBoolean, uuid } from './schema.ts'

const byHostBody = bodyOf(
  strict({
    host: hostName(),
    binary: nameText({ minLength: 1 }),
    disabled_reason: Type.Optional(nameText({ minLength: 1, maxLength: 255 })),
    forced_down: Type.Optional(boolean()),
  }),
)
const byIdBody = bodyOf(
  strict({
    status: Type.Optional(Type.Enum(['enabled', 'disabled'])),
    disabled_reason: Type.Optional(nameText({ minLength: 1, maxLength: 255 })),
    forced_down: Type.Optional(boolean()),
  }),
)
const anyUuid = bodyOf(uuid())

export function computeServiceRoutes(app: FastifyInstance, services: ComputeServices): void {
  app.get('/os-services', async (request) => {
    const query = new Query(request)
    query.requireKnown(request, ['host', 'binary'])
    const host = query.text('host')
    const binary = query.text('binary')
    const found = await services.list(request.principal, {
      ...(host === undefined ? {} : { host }),
      ...(binary === undefined ? {} : { binary }),
    })
    return { services: found.map((service) => view(request, service)) }
  })
  app.put('/os-services/:id', async (request) =>
    since(request, '2.53') ? changeById(request, services) : changeByHost(request, services),
  )
  app.delete('/os-services/:id', async (request) => {
    const id = paramOf(request, 'id')
    if (since(request, '2.53')) anyUuid(id)
    return services.remove(request.principal, id)
  })
}

async function changeById(request: FastifyRequest, services: ComputeServices) {
  const id = paramOf(request, 'id')
  if (!/^[0-9a-f-]{32,36}$/i.test(id)) throw new DomainError('invalid', `Invalid uuid ${id}`)
  const { status, disabled_reason: reason, forced_down: down } = byIdBody(request.body)
  if (status === undefined && down === undefined) {
    throw new DomainError(
      'invalid',
      'No updates were requested. Fields status or forced_down should be specified.',
    )
  }
  if (reason !== undefined && status !== 'disabled') {
    throw new DomainError(
      'invalid',
      "Specifying disabled_reason requires that status be set to 'disabled' explicitly.",
    )
  }
  const changed = await services.change(
    request.principal,
    { id },
    {
      ...(status === undefined ? {} : { disabled: status === 'disabled', disabledReason: reason ?? null }),
      ...(down === undefined ? {} : { forcedDown: toBoolean(down) }),
    },
  )
  return { service: view(request, changed) }
}

/** `PUT /os-services/disable` and its sisters, with the host in the body. */
async function changeByHost(request: FastifyRequest, services: ComputeServices) {
  const action = paramOf(request, 'id')
  const actions = [
    'enable',
    'disable',
    'disable-log-reason',
    ...(since(request, '2.11') ? ['force-down'] : []),
  ]
  if (!actions.includes(action)) throw new DomainError('notFound', 'Unknown action')
  const body = byHostBody(request.body)
  requireKnown(request.computeVersion, body, { forced_down: '2.11' })
  const { host, binary, disabled_reason: reason, forced_down: down } = body
  const which = { host, binary }
  if (action === 'force-down') {
    if (down === undefined) throw new DomainError('invalid', 'Missing forced_down field')
    const forcedDown = toBoolean(down)
    await services.change(request.principal, which, { forcedDown })
    return { service: { host, binary, forced_down: forcedDown } }
  }
  if (action === 'disable-log-reason' && reason === undefined) {
    throw new DomainError('invalid', 'Missing disabled reason field')
  }
  const disabled = action !== 'enable'
  const disabledReason = action === 'disable-log-reason' ? (reason ?? null) : null
  await services.change(request.principal, which, { disabled, disabledReason })
  return {
    service: {
      host,
      binary,
      status: disabled ? 'disabled' : 'enabled',
      ...(disabledReason === null ? {} : { disabled_reason: disabledReason }),
    },
  }
}

const view = (request: FastifyRequest, service: ShownService) => ({
  id: since(request, '2.53') ? service.id : service.number,
  binary: service.binary,
  host: service.host,
  zone: service.zone,
  status: service.disabled ? 'disabled' : 'enabled',
  state: service.up ? 'up' : 'down',
  updated_at: microTime(service.seenAt),
  disabled_reason: service.disabledReason,
  ...(since(request, '2.11') ? { forced_down: service.forcedDown } : {}),
})
