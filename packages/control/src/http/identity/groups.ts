import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { Group } from '../../domain/identity.ts'
import { idText, longText, nameText, parser } from '../parse.ts'
import { pathId, type IdentityRoutes } from './context.ts'
import { linkTo, listLinks } from './envelope.ts'
import { userView } from './users.ts'

const name = nameText({ minLength: 1, maxLength: 64 })
const description = Type.Optional(longText(4096))
const parseCreate = parser(
  Type.Object({ group: Type.Object({ name, description, domain_id: Type.Optional(idText()) }) }),
)
const parseUpdate = parser(Type.Object({ group: Type.Object({ name: Type.Optional(name), description }) }))
const text = Type.Optional(Type.String())
const parseQuery = parser(Type.Object({ name: text, domain_id: text }), 'query')

const groupView = (request: FastifyRequest, group: Group) => ({
  id: group.id,
  name: group.name,
  domain_id: group.domainId,
  description: group.description,
  links: { self: linkTo(request, `/groups/${group.id}`) },
})

export function groupRoutes(app: FastifyInstance, { identity: { groups } }: IdentityRoutes): void {
  app.get('/v3/groups', async (request) => {
    const query = parseQuery(request.query)
    const list = await groups.list(request.principal, { name: query.name, domainId: query.domain_id })
    return { groups: list.map((group) => groupView(request, group)), links: listLinks(request) }
  })
  app.get('/v3/users/:user/groups', async (request) => {
    const list = await groups.ofUser(request.principal, pathId(request, 'user'))
    return { groups: list.map((group) => groupView(request, group)), links: listLinks(request) }
  })
  app.post('/v3/groups', async (request, reply) => {
    const { group } = parseCreate(request.body)
    const made = await groups.create(request.principal, {
      name: group.name,
      description: group.description,
      domainId: group.domain_id,
    })
    return reply.status(201).send({ group: groupView(request, made) })
  })
  app.get('/v3/groups/:group', async (request) => ({
    group: groupView(request, await groups.show(request.principal, pathId(request, 'group'))),
  }))
  app.patch('/v3/groups/:group', async (request) => {
    const { group } = parseUpdate(request.body)
    const change = { name: group.name, description: group.description }
    return {
      group: groupView(request, await groups.update(request.principal, pathId(request, 'group'), change)),
    }
  })
  app.delete('/v3/groups/:group', async (request, reply) => {
    await groups.remove(request.principal, pathId(request, 'group'))
    return reply.status(204).send()
  })
}

export function memberRoutes(app: FastifyInstance, { identity: { groups } }: IdentityRoutes): void {
  app.get('/v3/groups/:group/users', async (request) => {
    const users = await groups.members(request.principal, pathId(request, 'group'))
    return { users: users.map((user) => userView(request, user)), links: listLinks(request) }
  })
  const path = '/v3/groups/:group/users/:user'
  app.put(path, async (request, reply) => {
    await groups.addMember(request.principal, pathId(request, 'group'), pathId(request, 'user'))
    return reply.status(204).send()
  })
  app.delete(path, async (request, reply) => {
    await groups.removeMember(request.principal, pathId(request, 'group'), pathId(request, 'user'))
    return reply.status(204).send()
  })
  // GET brings HEAD with it.
  app.get(path, async (request, reply) => {
    await groups.checkMember(request.principal, pathId(request, 'group'), pathId(request, 'user'))
    return reply.status(204).send()
  })
}
