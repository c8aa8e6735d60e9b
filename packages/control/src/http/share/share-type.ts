import { DomainError } from '@volant/contract'
import { Type } from 'typebox'
import type { ShareTypes } from '../../app/share-type.ts'
import { enforce } from '../../domain/policy.ts'
import { isAdmin } from '../../domain/principal.ts'
import { shareAbilities, tenantVisibleSpecs } from '../../domain/share-type.ts'
import type { ShareType } from '../../domain/share.ts'
import { accepted, ok } from '../answer.ts'
import { atLeast } from '../microversion.ts'
import { idText, longText, nameText, parser } from '../parse.ts'
import { flag, registerActions } from './action.ts'
import { nullable } from './body.ts'
import { param, queryText, type ShareCall, type ShareRoutes } from './call.ts'
import { queryFlag, queryPairs } from './list-query.ts'

/** Values are texts; clients send booleans and numbers too. */
const specsSchema = Type.Record(
  Type.String({ pattern: '^[a-zA-Z0-9\\-_:. ]{1,255}$' }),
  Type.Union([nameText({ minLength: 1 }), Type.Boolean(), Type.Integer()]),
  { additionalProperties: false, maxProperties: 128 },
)

const typeSchema = Type.Object({
  name: nameText({ minLength: 1 }),
  description: nullable(longText(255)),
  extra_specs: nullable(specsSchema),
  'share_type_access:is_public': Type.Optional(Type.Unknown()),
  'os-share-type-access:is_public': Type.Optional(Type.Unknown()),
})
const parseCreate = parser(
  Type.Object({ share_type: Type.Optional(typeSchema), volume_type: Type.Optional(typeSchema) }),
)
const parseUpdate = parser(
  Type.Object({
    share_type: Type.Object({
      name: nullable(nameText()),
      description: nullable(longText(255)),
      'share_type_access:is_public': Type.Optional(Type.Unknown()),
    }),
  }),
)
const parseSpecs = parser(Type.Object({ extra_specs: specsSchema }))
const parseSpec = parser(specsSchema)
const parseAccess = parser(Type.Object({ project: idText() }), 'argument of the action')

/** Python's words for booleans, as Manila stores them. */
const textsOf = (specs: Record<string, string | boolean | number>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(specs).map(([key, value]) => [
      key,
      typeof value === 'boolean' ? (value ? 'True' : 'False') : String(value),
    ]),
  )

const id = (call: ShareCall): string => param(call, 'type_id')

function view(call: ShareCall, type: ShareType) {
  const since = (version: string): boolean => atLeast(call.version, version)
  const admin = isAdmin(call.principal)
  const inferred =
    since('2.24') && !admin ? Object.fromEntries(shareAbilities.map((key) => [key, 'False'])) : {}
  const specs = Object.entries(type.extraSpecs).filter(([key]) => admin || tenantVisibleSpecs.includes(key))
  return {
    id: type.id,
    name: type.name,
    extra_specs: { ...inferred, ...Object.fromEntries(specs) },
    required_extra_specs: {
      driver_handles_share_servers: type.extraSpecs['driver_handles_share_servers'] ?? 'False',
    },
    ...(since('2.7')
      ? { 'share_type_access:is_public': type.isPublic }
      : { 'os-share-type-access:is_public': type.isPublic }),
    ...(since('2.41') && { description: type.description }),
    ...(since('2.46') && { is_default: type.isDefault }),
  }
}

/** Under both names that clients read. */
const both = (call: ShareCall, type: ShareType) => ({
  volume_type: view(call, type),
  share_type: view(call, type),
})

export function registerShareTypes(routes: ShareRoutes, types: ShareTypes): void {
  routes.get('/types', async (call) => {
    const text = (queryText(call, 'is_public') ?? '').toLowerCase()
    const isPublic = text === 'none' || text === 'all' ? undefined : (queryFlag(call, 'is_public') ?? true)
    const extraSpecs = atLeast(call.version, '2.43') ? queryPairs(call, 'extra_specs') : undefined
    const found = await types.list(call.principal, {
      ...(isAdmin(call.principal) && isPublic !== undefined && { isPublic }),
      ...(extraSpecs !== undefined && { extraSpecs }),
    })
    const shown = found.map((type) => view(call, type))
    return ok({ volume_types: shown, share_types: shown })
  })
  routes.get('/types/default', async (call) => ok(both(call, await types.default(call.principal))))
  routes.get('/types/:type_id', async (call) => ok(both(call, await types.show(call.principal, id(call)))))
  routes.post('/types', async (call) => {
    const body = parseCreate(call.body)
    const asked = body.share_type ?? body.volume_type
    if (asked === undefined) throw new DomainError('invalid', 'The request body must hold share_type.')
    const isPublic = asked['share_type_access:is_public'] ?? asked['os-share-type-access:is_public']
    const defaults: Record<string, string> = atLeast(call.version, '2.24') ? {} : { snapshot_support: 'True' }
    const made = await types.create(call.principal, {
      name: asked.name.trim(),
      description: atLeast(call.version, '2.41') ? (asked.description ?? null) : null,
      isPublic: flag(isPublic, 'share_type_access:is_public', true),
      extraSpecs: { ...defaults, ...textsOf(asked.extra_specs ?? {}) },
    })
    return ok(both(call, made))
  })
  routes.put(
    '/types/:type_id',
    async (call) => {
      const { share_type: asked } = parseUpdate(call.body)
      const isPublic = asked['share_type_access:is_public']
      const fields = {
        ...(asked.name != null && { name: asked.name.trim() }),
        ...(asked.description !== undefined && { description: asked.description }),
        ...(isPublic != null && { isPublic: flag(isPublic, 'share_type_access:is_public') }),
      }
      if (Object.keys(fields).length === 0) {
        throw new DomainError(
          'invalid',
          'Specify share type name, description, share_type_access:is_public or a combination thereof.',
        )
      }
      if (fields.name === '') throw new DomainError('invalid', 'Type name can not be empty.')
      return ok(both(call, await types.update(call.principal, id(call), fields)))
    },
    { since: '2.50' },
  )
  routes.delete('/types/:type_id', async (call) => {
    await types.remove(call.principal, id(call))
    return accepted()
  })
  registerSpecs(routes, types)
  registerAccess(routes, types)
}

function registerSpecs(routes: ShareRoutes, types: ShareTypes): void {
  const path = '/types/:type_id/extra_specs'
  const specsOf = async (call: ShareCall) => {
    enforce(call.principal, 'share_types_extra_spec:index', 'admin')
    return (await types.show(call.principal, id(call))).extraSpecs
  }
  routes.get(path, async (call) => ok({ extra_specs: await specsOf(call) }))
  routes.post(path, async (call) => {
    const specs = textsOf(parseSpecs(call.body).extra_specs)
    await types.setExtraSpecs(call.principal, id(call), specs)
    return ok({ extra_specs: specs })
  })
  routes.get(`${path}/:key`, async (call) => {
    const specs = await specsOf(call)
    const key = param(call, 'key')
    if (!Object.hasOwn(specs, key)) {
      throw new DomainError('notFound', `Share Type ${id(call)} has no extra specs with key ${key}.`)
    }
    return ok({ [key]: specs[key] })
  })
  routes.put(`${path}/:key`, async (call) => {
    const specs = textsOf(parseSpec(call.body))
    const key = param(call, 'key')
    if (Object.keys(specs).length !== 1 || !Object.hasOwn(specs, key)) {
      throw new DomainError('invalid', `Request body must hold the one item '${key}' that the URI names.`)
    }
    await types.setExtraSpecs(call.principal, id(call), specs)
    return ok(specs)
  })
  routes.delete(`${path}/:key`, async (call) => {
    await types.removeExtraSpec(call.principal, id(call), param(call, 'key'))
    return accepted()
  })
}

function registerAccess(routes: ShareRoutes, types: ShareTypes): void {
  const list = async (call: ShareCall) => {
    const projects = await types.projects(call.principal, id(call))
    return ok({
      share_type_access: projects.map((projectId) => ({ share_type_id: id(call), project_id: projectId })),
    })
  }
  routes.get('/types/:type_id/share_type_access', list, { since: '2.7' })
  routes.get('/types/:type_id/os-share-type-access', list, { until: '2.6' })
  registerActions(routes, '/types/:type_id', {
    addProjectAccess: {
      run: async (call, typeId, value) => {
        await types.addProject(call.principal, typeId, parseAccess(value).project)
        return accepted()
      },
    },
    removeProjectAccess: {
      run: async (call, typeId, value) => {
        await types.removeProject(call.principal, typeId, parseAccess(value).project)
        return accepted()
      },
    },
  })
}
