import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Type, type TSchema } from 'typebox'
import type { User } from '../../domain/identity.ts'
import { idText, longText, nameText, parser } from '../parse.ts'
import { newPasswordText, passwordText } from './auth-schema.ts'
import { pathId, queryFlag, type IdentityRoutes } from './context.ts'
import { linkTo, listLinks } from './envelope.ts'

const nullable = <T extends TSchema>(type: T) => Type.Optional(Type.Union([type, Type.Null()]))
const name = nameText({ minLength: 1 })
const fields = {
  description: nullable(longText(4096)),
  email: nullable(nameText()),
  default_project_id: nullable(idText()),
  enabled: Type.Optional(Type.Boolean()),
  password: nullable(newPasswordText()),
}
const parseCreate = parser(
  Type.Object({ user: Type.Object({ name, domain_id: nullable(idText()), ...fields }) }),
)
const parseUpdate = parser(Type.Object({ user: Type.Object({ name: Type.Optional(name), ...fields }) }))
const parsePassword = parser(
  Type.Object({ user: Type.Object({ original_password: passwordText(), password: newPasswordText() }) }),
)
const text = Type.Optional(Type.String())
const parseQuery = parser(Type.Object({ name: text, domain_id: text, enabled: text }), 'query')

export const userView = (request: FastifyRequest, user: User) => ({
  id: user.id,
  name: user.name,
  domain_id: user.domainId,
  enabled: user.enabled,
  ...(user.defaultProjectId === null ? {} : { default_project_id: user.defaultProjectId }),
  ...(user.description === null ? {} : { description: user.description }),
  ...(user.email === null ? {} : { email: user.email }),
  password_expires_at: null,
  options: {},
  links: { self: linkTo(request, `/users/${user.id}`) },
})

export function userRoutes(app: FastifyInstance, { identity: { users } }: IdentityRoutes): void {
  app.get('/v3/users', async (request) => {
    const query = parseQuery(request.query)
    const list = await users.list(request.principal, {
      name: query.name,
      domainId: query.domain_id,
      enabled: queryFlag(query.enabled),
    })
    return { users: list.map((user) => userView(request, user)), links: listLinks(request) }
  })
  app.post('/v3/users', async (request, reply) => {
    const { user } = parseCreate(request.body)
    const made = await users.create(request.principal, {
      name: user.name,
      domainId: user.domain_id ?? undefined,
      description: user.description,
      email: user.email,
      defaultProjectId: user.default_project_id,
      enabled: user.enabled,
      password: user.password,
    })
    return reply.status(201).send({ user: userView(request, made) })
  })
  app.get('/v3/users/:user', async (request) => ({
    user: userView(request, await users.show(request.principal, pathId(request, 'user'))),
  }))
  app.patch('/v3/users/:user', async (request) => {
    const { user } = parseUpdate(request.body)
    const changed = await users.update(request.principal, pathId(request, 'user'), {
      name: user.name,
      description: user.description,
      email: user.email,
      defaultProjectId: user.default_project_id,
      enabled: user.enabled,
      password: user.password,
    })
    return { user: userView(request, changed) }
  })
  app.delete('/v3/users/:user', async (request, reply) => {
    await users.remove(request.principal, pathId(request, 'user'))
    return reply.status(204).send()
  })
}

/** A user's change of its own password needs no token: the old password is the authentication. */
export function passwordRoutes(app: FastifyInstance, { identity: { users } }: IdentityRoutes): void {
  app.post('/v3/users/:user/password', async (request, reply) => {
    const { user } = parsePassword(request.body)
    await users.changePassword(pathId(request, 'user'), user.original_password, user.password)
    return reply.status(204).send()
  })
}
