import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { FlavorQuery, Flavors, NewFlavor } from '../../app/flavor.ts'
import type { Flavor } from '../../domain/flavor.ts'
import { longText, nameText } from '../parse.ts'
import { linksOf, nextLink, paramOf, since } from './request.ts'
import { Query } from './query.ts'
import { bodyOf, boolean, integer, name, requireKnown, strict, toBoolean, toInteger } from './schema.ts'

const sortKeys: Record<string, keyof Flavor> = {
  created_at: 'createdAt',
  description: 'description',
  disabled: 'disabled',
  ephemeral_gb: 'ephemeralGib',
  flavorid: 'id',
  id: 'id',
  is_public: 'isPublic',
  memory_mb: 'memoryMib',
  name: 'name',
  root_gb: 'diskGib',
  rxtx_factor: 'rxtxFactor',
  swap: 'swapMib',
  updated_at: 'createdAt',
  vcpu_weight: 'vcpus',
  vcpus: 'vcpus',
}

const createBody = bodyOf(
  strict({
    flavor: strict({
      name: name(),
      id: Type.Optional(
        Type.Union([
          Type.String({ minLength: 1, maxLength: 255, pattern: '^(?! )[a-zA-Z0-9. _-]+(?<! )$' }),
          Type.Integer({ minimum: 0 }),
          Type.Null(),
        ]),
      ),
      ram: integer(1),
      vcpus: integer(1),
      disk: integer(0),
      'OS-FLV-EXT-DATA:ephemeral': Type.Optional(integer(0)),
      swap: Type.Optional(integer(0)),
      rxtx_factor: Type.Optional(
        Type.Union([
          Type.Number({ exclusiveMinimum: 0, maximum: 3.402_82e38 }),
          Type.String({ maxLength: 20, pattern: '^[0-9]+(\\.[0-9]+)?$' }),
        ]),
      ),
      'os-flavor-access:is_public': Type.Optional(boolean()),
      description: Type.Optional(Type.Union([longText(65535), Type.Null()])),
    }),
  }),
)
const updateBody = bodyOf(
  strict({ flavor: strict({ description: Type.Union([longText(65535), Type.Null()]) }) }),
)

const specs = Type.Record(
  Type.String({ pattern: '^[a-zA-Z0-9_:. -]{1,255}$' }),
  Type.Union([nameText({ maxLength: 255 }), Type.Number()]),
  { additionalProperties: false },
)
const specsBody = bodyOf(strict({ extra_specs: specs }))
const oneSpecBody = bodyOf(specs)

const project = strict({ tenant: nameText({ minLength: 1, maxLength: 255 }) })
const addAccessBody = bodyOf(strict({ addTenantAccess: project }))
const removeAccessBody = bodyOf(strict({ removeTenantAccess: project }))

const textOf = (values: Record<string, string | number>): Record<string, string> =>
  Object.fromEntries(Object.entries(values).map(([key, value]) => [key, String(value)]))

export function flavorRoutes(app: FastifyInstance, flavors: Flavors): void {
  const list = async (request: FastifyRequest, detail: boolean) => {
    const { flavors: found, hasMore } = await flavors.list(request.principal, parseList(request))
    const last = found.at(-1)
    return {
      flavors: found.map((flavor) => (detail ? flavorView(request, flavor) : basicView(request, flavor))),
      ...(hasMore && last !== undefined ? { flavors_links: [nextLink(request, last.id)] } : {}),
    }
  }
  app.get('/flavors', (request) => list(request, false))
  app.get('/flavors/detail', (request) => list(request, true))
  app.get('/flavors/:id', async (request) => ({
    flavor: flavorView(request, await flavors.show(request.principal, paramOf(request, 'id'))),
  }))
  app.post('/flavors', async (request) => ({
    flavor: flavorView(request, await flavors.create(request.principal, parseFlavor(request))),
  }))
  app.put('/flavors/:id', async (request) => {
    if (!since(request, '2.55')) throw new DomainError('notFound', 'The resource could not be found.')
    const { description } = updateBody(request.body).flavor
    const flavor = await flavors.describe(request.principal, paramOf(request, 'id'), description)
    return { flavor: flavorView(request, flavor) }
  })
  app.delete('/flavors/:id', async (request, reply) => {
    await flavors.remove(request.principal, paramOf(request, 'id'))
    return reply.code(202).send()
  })
  extraSpecRoutes(app, flavors)
  accessRoutes(app, flavors)
}

function extraSpecRoutes(app: FastifyInstance, flavors: Flavors): void {
  const noSpec = (flavorId: string, key: string): DomainError =>
    new DomainError('notFound', `Flavor ${flavorId} has no extra specs with key ${key}.`)
  app.get('/flavors/:id/os-extra_specs', async (request) => ({
    extra_specs: (await flavors.show(request.principal, paramOf(request, 'id'))).extraSpecs,
  }))
  app.post('/flavors/:id/os-extra_specs', async (request) => {
    const added = textOf(specsBody(request.body).extra_specs)
    const id = paramOf(request, 'id')
    await flavors.changeExtraSpecs(request.principal, id, 'create', (old) => ({ ...old, ...added }))
    return { extra_specs: added }
  })
  app.get('/flavors/:id/os-extra_specs/:key', async (request) => {
    const id = paramOf(request, 'id')
    const key = paramOf(request, 'key')
    const { extraSpecs } = await flavors.show(request.principal, id)
    if (!Object.hasOwn(extraSpecs, key)) throw noSpec(id, key)
    return { [key]: extraSpecs[key] }
  })
  app.put('/flavors/:id/os-extra_specs/:key', async (request) => {
    const key = paramOf(request, 'key')
    const changed = textOf(oneSpecBody(request.body))
    if (Object.keys(changed).length !== 1 || !Object.hasOwn(changed, key)) {
      throw new DomainError('invalid', 'Request body and URI mismatch')
    }
    const id = paramOf(request, 'id')
    await flavors.changeExtraSpecs(request.principal, id, 'update', (old) => ({ ...old, ...changed }))
    return changed
  })
  app.delete('/flavors/:id/os-extra_specs/:key', async (request, reply) => {
    const id = paramOf(request, 'id')
    const key = paramOf(request, 'key')
    await flavors.changeExtraSpecs(request.principal, id, 'delete', (old) => {
      if (!Object.hasOwn(old, key)) throw noSpec(id, key)
      return Object.fromEntries(Object.entries(old).filter(([other]) => other !== key))
    })
    return reply.code(200).send()
  })
}

function accessRoutes(app: FastifyInstance, flavors: Flavors): void {
  const view = (flavorId: string, projects: string[]) => ({
    flavor_access: projects.map((tenant) => ({ flavor_id: flavorId, tenant_id: tenant })),
  })
  app.get('/flavors/:id/os-flavor-access', async (request) => {
    const id = paramOf(request, 'id')
    return view(id, await flavors.access(request.principal, id))
  })
  app.post('/flavors/:id/action', async (request) => {
    const id = paramOf(request, 'id')
    const adds =
      typeof request.body === 'object' && request.body !== null && 'addTenantAccess' in request.body
    if (adds) {
      const { tenant } = addAccessBody(request.body).addTenantAccess
      return view(id, await flavors.addAccess(request.principal, id, tenant))
    }
    const { tenant } = removeAccessBody(request.body).removeTenantAccess
    return view(id, await flavors.removeAccess(request.principal, id, tenant))
  })
}

function parseList(request: FastifyRequest): FlavorQuery {
  const query = new Query(request)
  query.requireKnown(request, ['limit', 'marker', 'is_public', 'minRam', 'minDisk', 'sort_key', 'sort_dir'])
  const key = query.text('sort_key') ?? 'flavorid'
  const direction = query.text('sort_dir') ?? 'asc'
  if (sortKeys[key] === undefined) throw query.invalid('sort_key', key, 'is no sort key of flavors')
  if (direction !== 'asc' && direction !== 'desc') {
    throw query.invalid('sort_dir', direction, "must be 'asc' or 'desc'")
  }
  const minRam = query.integer('minRam')
  const minDisk = query.integer('minDisk')
  const marker = query.text('marker')
  const isPublic =
    query.text('is_public')?.toLowerCase() === 'none' ? 'none' : (query.boolean('is_public') ?? true)
  return {
    isPublic,
    ...(minRam === undefined ? {} : { minRamMib: minRam }),
    ...(minDisk === undefined ? {} : { minDiskGib: minDisk }),
    sort: { key: sortKeys[key], descending: direction === 'desc' },
    limit: query.limit(),
    ...(marker === undefined ? {} : { marker }),
  }
}

function parseFlavor(request: FastifyRequest): NewFlavor {
  const { flavor } = createBody(request.body)
  requireKnown(request.computeVersion, flavor, { description: '2.55' })
  const { id } = flavor
  const isPublic = flavor['os-flavor-access:is_public']
  return {
    ...(id === undefined || id === null || id === 'auto' ? {} : { id: String(id) }),
    name: flavor.name,
    description: flavor.description ?? null,
    vcpus: toInteger(flavor.vcpus, 'vcpus', 1),
    memoryMib: toInteger(flavor.ram, 'ram', 1),
    diskGib: toInteger(flavor.disk, 'disk', 0),
    ephemeralGib: toInteger(flavor['OS-FLV-EXT-DATA:ephemeral'] ?? 0, 'OS-FLV-EXT-DATA:ephemeral', 0),
    swapMib: toInteger(flavor.swap ?? 0, 'swap', 0),
    rxtxFactor: Number(flavor.rxtx_factor ?? 1),
    isPublic: isPublic === undefined || toBoolean(isPublic),
  }
}

const basicView = (request: FastifyRequest, flavor: Flavor) => ({
  id: flavor.id,
  name: flavor.name,
  links: linksOf(request, `flavors/${encodeURIComponent(flavor.id)}`),
  ...(since(request, '2.55') ? { description: flavor.description } : {}),
})

function flavorView(request: FastifyRequest, flavor: Flavor) {
  return {
    ...basicView(request, flavor),
    ram: flavor.memoryMib,
    disk: flavor.diskGib,
    swap: flavor.swapMib === 0 && !since(request, '2.75') ? '' : flavor.swapMib,
    'OS-FLV-EXT-DATA:ephemeral': flavor.ephemeralGib,
    'OS-FLV-DISABLED:disabled': flavor.disabled,
    vcpus: flavor.vcpus,
    'os-flavor-access:is_public': flavor.isPublic,
    rxtx_factor: flavor.rxtxFactor,
    ...(since(request, '2.61') ? { extra_specs: flavor.extraSpecs } : {}),
  }
}
