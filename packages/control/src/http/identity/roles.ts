import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { Role } from '../../domain/identity.ts'
import { longText, nameText, parser } from '../parse.ts'
import { pathId, type IdentityRoutes } from './context.ts'
import { linkTo, listLinks } from './envelope.ts'

const name = nameText({ minLength: 1 })
const description = Type.Optional(Type.Union([longText(4096), Type.Null()]))
const parseCreate = parser(Type.Object({ role: Type.Object({ name, description }) }))
const parseUpdate = parser(Type.Object({ role: Type.Object({ name: Type.Optional(name), description }) }))
const parseQuery = parser(Type.Object({ name: Type.Optional(Type.String()) }), 'query')

export const roleView = (request: FastifyRequest, role: Role) => ({
  id: role.id,
  name: role.name,
  domain_id: null,
  description: role.description,
  options: {},
  links: { self: linkTo(request, `/roles/${role.id}`) },
})

const inferenceRole = (request: FastifyRequest, role: Role) => ({
  id: role.id,
  name: role.name,
  links: { self: linkTo(request, `/roles/${role.id}`) },
})

export function roleRoutes(app: FastifyInstance, { identity: { roles } }: IdentityRoutes): void {
  app.get('/v3/roles', async (request) => {
    const list = await roles.list(request.principal, { name: parseQuery(request.query).name })
    return { roles: list.map((role) => roleView(request, role)), links: listLinks(request) }
  })
  app.post('/v3/roles', async (request, reply) => {
    const { role } = parseCreate(request.body)
    const made = await roles.create(request.principal, { name: role.name, description: role.description })
    return reply.status(201).send({ role: roleView(request, made) })
  })
  app.get('/v3/roles/:role', async (request) => ({
    role: roleView(request, await roles.show(request.principal, pathId(request, 'role'))),
  }))
  app.patch('/v3/roles/:role', async (request) => {
    const { role } = parseUpdate(request.body)
    const change = { name: role.name, description: role.description }
    return { role: roleView(request, await roles.update(request.principal, pathId(request, 'role'), change)) }
  })
  app.delete('/v3/roles/:role', async (request, reply) => {
    await roles.remove(request.principal, pathId(request, 'role'))
    return reply.status(204).send()
  })
}

const ruleOf = (request: FastifyRequest) => ({
  priorRoleId: pathId(request, 'prior'),
  impliedRoleId: pathId(request, 'implied'),
})

/** Which role implies which. */
export function inferenceRoutes(app: FastifyInstance, { identity: { roles } }: IdentityRoutes): void {
  app.get('/v3/role_inferences', async (request) => {
    const rules = await roles.inferences(request.principal)
    return {
      role_inferences: rules.map(({ prior, implies }) => ({
        prior_role: inferenceRole(request, prior),
        implies: implies.map((role) => inferenceRole(request, role)),
      })),
      links: listLinks(request),
    }
  })
  app.get('/v3/roles/:prior/implies', async (request) => {
    const prior = await roles.show(request.principal, pathId(request, 'prior'))
    const found = (await roles.inferences(request.principal)).find((each) => each.prior.id === prior.id)
    return {
      role_inference: {
        prior_role: inferenceRole(request, prior),
        implies: (found?.implies ?? []).map((role) => inferenceRole(request, role)),
      },
      links: listLinks(request),
    }
  })
  app.put('/v3/roles/:prior/implies/:implied', async (request, reply) => {
    const { prior, implied } = await roles.imply(request.principal, ruleOf(request))
    return reply.status(201).send({
      role_inference: { prior_role: inferenceRole(request, prior), implies: inferenceRole(request, implied) },
      links: { self: linkTo(request, `/roles/${prior.id}/implies/${implied.id}`) },
    })
  })
  app.delete('/v3/roles/:prior/implies/:implied', async (request, reply) => {
    await roles.unimply(request.principal, ruleOf(request))
    return reply.status(204).send()
  })
}
