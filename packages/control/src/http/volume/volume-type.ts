import { DomainError } from '@volant/contract'
import { Type } from 'typebox'
import { notSupported } from '../../app/volume-access.ts'
import type { VolumeTypes } from '../../app/volume-type.ts'
import { enforce } from '../../domain/policy.ts'
import { isAdmin } from '../../domain/principal.ts'
import type { VolumeType } from '../../domain/volume-type.ts'
import { atLeast } from '../microversion.ts'
import { idText, longText, nameText, parser } from '../parse.ts'
import {
  accepted,
  booleanOf,
  ok,
  pageOf,
  param,
  queryText,
  type VolumeCall,
  type VolumeRoutes,
} from './call.ts'
import { metadataSchema } from './volume-body.ts'

const optionalText = Type.Optional(Type.Union([longText(255), Type.Null()]))

const parseCreate = parser(
  Type.Object({
    volume_type: Type.Object({
      name: nameText({ minLength: 1 }),
      description: optionalText,
      extra_specs: Type.Optional(Type.Union([metadataSchema, Type.Null()])),
      'os-volume-type-access:is_public': Type.Optional(Type.Unknown()),
    }),
  }),
)
const parseUpdate = parser(
  Type.Object({
    volume_type: Type.Object({
      name: Type.Optional(Type.Union([nameText(), Type.Null()])),
      description: optionalText,
      is_public: Type.Optional(Type.Unknown()),
    }),
  }),
)
const parseSpecs = parser(Type.Object({ extra_specs: metadataSchema }))
const parseSpec = parser(metadataSchema)
const parseAccess = parser(Type.Object({ project: idText() }))

/** Extra specs are the administrator's to see, but for those that tell a user what a type can do. */
const visibleSpecs = ['RESKEY:availability_zones', 'multiattach', 'replication_enabled']

/** As shown and listed. The answers to create and update lack what Cinder's extensions add. */
const typeView = (call: VolumeCall, type: VolumeType) => ({
  ...plainView(call, type),
  ...(isAdmin(call.principal) && { qos_specs_id: null }),
  'os-volume-type-access:is_public': type.isPublic,
})

const plainView = (call: VolumeCall, type: VolumeType) => {
  const admin = isAdmin(call.principal)
  const specs = admin
    ? type.extraSpecs
    : Object.fromEntries(Object.entries(type.extraSpecs).filter(([key]) => visibleSpecs.includes(key)))
  return {
    id: type.id,
    name: type.name,
    is_public: type.isPublic,
    description: type.description,
    ...(admin || Object.keys(specs).length > 0 ? { extra_specs: specs } : {}),
  }
}

const flag = (value: unknown, name: string): boolean => {
  const found = booleanOf(value)
  if (found === undefined) throw new DomainError('invalid', `${name} must be true or false.`)
  return found
}

const id = (call: VolumeCall): string => param(call, 'type_id')

export function registerVolumeTypes(routes: VolumeRoutes, types: VolumeTypes): void {
  routes.get('/types', async (call) => {
    const { offset, limit, marker } = pageOf(call)
    const found = await types.list(call.principal, filterOf(call))
    const start = marker === undefined ? 0 : found.findIndex((type) => type.id === marker) + 1
    if (marker !== undefined && start === 0) {
      throw new DomainError('notFound', `Volume type ${marker} could not be found.`)
    }
    const page = found.slice(start + offset, start + offset + limit)
    return ok({ volume_types: page.map((type) => typeView(call, type)) })
  })
  routes.get('/types/default', async (call) =>
    ok({ volume_type: typeView(call, await types.default(call.principal)) }),
  )
  routes.get('/types/:type_id', async (call) =>
    ok({ volume_type: typeView(call, await types.show(call.principal, id(call))) }),
  )
  routes.post('/types', async (call) => {
    const { volume_type: asked } = parseCreate(call.body)
    const type = await types.create(call.principal, {
      name: requireName(asked.name),
      description: asked.description ?? null,
      isPublic: flag(asked['os-volume-type-access:is_public'] ?? true, 'os-volume-type-access:is_public'),
      extraSpecs: asked.extra_specs ?? {},
    })
    const shown = { ...plainView(call, type), 'os-volume-type-access:is_public': type.isPublic }
    return ok({ volume_type: shown })
  })
  routes.put('/types/:type_id', async (call) => {
    const { volume_type: asked } = parseUpdate(call.body)
    const fields = {
      ...(asked.name !== undefined && asked.name !== null && { name: requireName(asked.name) }),
      ...(asked.description !== undefined && { description: asked.description }),
      ...(asked.is_public !== undefined && { isPublic: flag(asked.is_public, 'is_public') }),
    }
    if (Object.keys(fields).length === 0) {
      throw new DomainError(
        'invalid',
        'Specify volume type name, description, is_public or a combination thereof.',
      )
    }
    return ok({ volume_type: plainView(call, await types.update(call.principal, id(call), fields)) })
  })
  routes.delete('/types/:type_id', async (call) => {
    await types.remove(call.principal, id(call))
    return accepted()
  })
  registerExtraSpecs(routes, types)
  registerTypeAccess(routes, types)
}

function requireName(name: string): string {
  const trimmed = name.trim()
  if (trimmed === '') throw new DomainError('invalid', 'Volume type name can not be empty.')
  return trimmed
}

/** `is_public=None` asks for both kinds; without it only public ones are listed, as in Cinder. */
function filterOf(call: VolumeCall) {
  const asked = queryText(call, 'is_public')
  const name = queryText(call, 'name')
  const specs = queryText(call, 'extra_specs')
  const isPublic =
    asked === undefined ? true : asked.toLowerCase() === 'none' ? undefined : flag(asked, 'is_public')
  return {
    ...(isPublic !== undefined && { isPublic }),
    ...(name !== undefined && { name }),
    ...(specs !== undefined && atLeast(call.version, '3.52') && { extraSpecs: specsOf(specs) }),
  }
}

function specsOf(text: string): Record<string, string> {
  try {
    return parseSpec(JSON.parse(text.replaceAll(`u'`, `'`).replaceAll(`'`, '"')))
  } catch (error) {
    throw new DomainError('invalid', 'extra_specs must be an object such as {"key": "value"}.', {
      cause: error,
    })
  }
}

function registerExtraSpecs(routes: VolumeRoutes, types: VolumeTypes): void {
  const path = '/types/:type_id/extra_specs'
  const specsOfType = async (call: VolumeCall): Promise<Record<string, string>> => {
    const type = await types.show(call.principal, id(call))
    enforce(call.principal, 'volume_extension:types_extra_specs:index', 'admin')
    return type.extraSpecs
  }
  routes.get(path, async (call) => ok({ extra_specs: await specsOfType(call) }))
  routes.post(path, async (call) => {
    const { extra_specs } = parseSpecs(call.body)
    await types.setExtraSpecs(call.principal, id(call), extra_specs)
    return ok({ extra_specs })
  })
  routes.get(`${path}/:key`, async (call) => {
    const specs = await specsOfType(call)
    const key = param(call, 'key')
    if (!Object.hasOwn(specs, key)) {
      throw new DomainError('notFound', `Volume Type ${id(call)} has no extra specs with key ${key}.`)
    }
    return ok({ [key]: specs[key] })
  })
  routes.put(`${path}/:key`, async (call) => {
    const key = param(call, 'key')
    const spec = parseSpec(call.body)
    if (Object.keys(spec).length !== 1 || !Object.hasOwn(spec, key)) {
      throw new DomainError('invalid', `The request body must hold the one item '${key}' that the URI names.`)
    }
    await types.setExtraSpecs(call.principal, id(call), spec)
    return ok(spec)
  })
  routes.delete(`${path}/:key`, async (call) => {
    await types.removeExtraSpec(call.principal, id(call), param(call, 'key'))
    return accepted()
  })
}

function registerTypeAccess(routes: VolumeRoutes, types: VolumeTypes): void {
  routes.get('/types/:type_id/os-volume-type-access', async (call) => {
    const projects = await types.projects(call.principal, id(call))
    return ok({
      volume_type_access: projects.map((project_id) => ({ volume_type_id: id(call), project_id })),
    })
  })
  routes.get('/types/:type_id/encryption', async (call) => {
    await types.show(call.principal, id(call))
    return ok({})
  })
  routes.post('/types/:type_id/encryption', () => {
    throw notSupported('Encrypted volume types are not supported.')
  })
  routes.post('/types/:type_id/action', async (call) => {
    const body = (call.body ?? {}) as Record<string, unknown>
    const add = Object.hasOwn(body, 'addProjectAccess')
    const remove = Object.hasOwn(body, 'removeProjectAccess')
    if (add === remove) {
      throw new DomainError('invalid', 'The body must name one of addProjectAccess, removeProjectAccess.')
    }
    const { project } = parseAccess(body[add ? 'addProjectAccess' : 'removeProjectAccess'])
    await (add
      ? types.addProject(call.principal, id(call), project)
      : types.removeProject(call.principal, id(call), project))
    return accepted()
  })
}
