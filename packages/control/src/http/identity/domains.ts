import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { Domain } from '../../domain/identity.ts'
import { longText, nameText, parser } from '../parse.ts'
import { pathId, queryFlag, type IdentityRoutes } from './context.ts'
import { linkTo, listLinks } from './envelope.ts'

const fields = {
  description: Type.Optional(longText(4096)),
  enabled: Type.Optional(Type.Boolean()),
}
const parseCreate = parser(
  Type.Object({ domain: Type.Object({ name: nameText({ minLength: 1, maxLength: 64 }), ...fields }) }),
)
const parseUpdate = parser(
  Type.Object({
    domain: Type.Object({ name: Type.Optional(nameText({ minLength: 1, maxLength: 64 })), ...fields }),
  }),
)
const parseQuery = parser(
  Type.Object({ name: Type.Optional(Type.String()), enabled: Type.Optional(Type.String()) }),
  'query',
)

export const domainView = (request: FastifyRequest, domain: Domain) => ({
  id: domain.id,
  name: domain.name,
  description: domain.description,
  enabled: domain.enabled,
  tags: [],
  options: {},
  links: { self: linkTo(request, `/domains/${domain.id}`) },
})

export function domainRoutes(app: FastifyInstance, { identity: { domains } }: IdentityRoutes): void {
  app.get('/v3/domains', async (request) => {
    const query = parseQuery(request.query)
    const list = await domains.list(request.principal, {
      name: query.name,
      enabled: queryFlag(query.enabled),
    })
    return { domains: list.map((domain) => domainView(request, domain)), links: listLinks(request) }
  })
  app.post('/v3/domains', async (request, reply) => {
    const { domain } = parseCreate(request.body)
    const { name, description, enabled } = domain
    const made = await domains.create(request.principal, { name, description, enabled })
    return reply.status(201).send({ domain: domainView(request, made) })
  })
  app.get('/v3/domains/:domain', async (request) => ({
    domain: domainView(request, await domains.show(request.principal, pathId(request, 'domain'))),
  }))
  app.patch('/v3/domains/:domain', async (request) => {
    const { name, description, enabled } = parseUpdate(request.body).domain
    const change = { name, description, enabled }
    const domain = await domains.update(request.principal, pathId(request, 'domain'), change)
    return { domain: domainView(request, domain) }
  })
  app.delete('/v3/domains/:domain', async (request, reply) => {
    await domains.remove(request.principal, pathId(request, 'domain'))
    return reply.status(204).send()
  })
}
