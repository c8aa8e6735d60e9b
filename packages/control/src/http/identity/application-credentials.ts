import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { ApplicationCredentialView } from '../../app/identity/application-credentials.ts'
import { idText, longText, nameText, parser } from '../parse.ts'
import { newPasswordText } from './auth-schema.ts'
import { pathId, type IdentityRoutes } from './context.ts'
import { linkTo, listLinks } from './envelope.ts'

const orNull = Type.Null()
const parseCreate = parser(
  Type.Object({
    application_credential: Type.Object({
      name: nameText({ minLength: 1 }),
      description: Type.Optional(Type.Union([longText(4096), orNull])),
      secret: Type.Optional(Type.Union([newPasswordText(), orNull])),
      roles: Type.Optional(
        Type.Array(Type.Object({ id: Type.Optional(idText()), name: Type.Optional(nameText()) }), {
          maxItems: 100,
        }),
      ),
      expires_at: Type.Optional(Type.Union([Type.String({ maxLength: 64 }), orNull])),
      unrestricted: Type.Optional(Type.Boolean()),
      access_rules: Type.Optional(Type.Array(Type.Unknown(), { maxItems: 100 })),
    }),
  }),
)
const parseQuery = parser(Type.Object({ name: Type.Optional(Type.String()) }), 'query')

const credentialView = (request: FastifyRequest, credential: ApplicationCredentialView) => ({
  id: credential.id,
  name: credential.name,
  description: credential.description,
  project_id: credential.projectId,
  user_id: credential.userId,
  system: null,
  expires_at: credential.expiresAt === null ? null : credential.expiresAt.replace('Z', '000'),
  unrestricted: credential.unrestricted,
  roles: credential.roles.map((role) => ({ id: role.id, name: role.name, domain_id: null })),
  ...(credential.secret === undefined ? {} : { secret: credential.secret }),
  links: { self: linkTo(request, `/users/${credential.userId}/application_credentials/${credential.id}`) },
})

export function applicationCredentialRoutes(app: FastifyInstance, { identity }: IdentityRoutes): void {
  const credentials = identity.applicationCredentials
  const path = '/v3/users/:user/application_credentials'
  app.get(path, async (request) => {
    const { name } = parseQuery(request.query)
    const list = await credentials.list(request.tokenContext, pathId(request, 'user'), name)
    return {
      application_credentials: list.map((each) => credentialView(request, each)),
      links: listLinks(request),
    }
  })
  app.post(path, async (request, reply) => {
    const { application_credential: asked } = parseCreate(request.body)
    if (asked.access_rules !== undefined && asked.access_rules.length > 0) {
      // Making it without them would give away more than was asked for.
      throw new DomainError('invalid', 'access_rules are not supported: leave them out, or use fewer roles.')
    }
    const made = await credentials.create(request.tokenContext, pathId(request, 'user'), {
      name: asked.name,
      description: asked.description,
      secret: asked.secret,
      roles: asked.roles,
      expiresAt: asked.expires_at,
      unrestricted: asked.unrestricted,
    })
    return reply.status(201).send({ application_credential: credentialView(request, made) })
  })
  app.get(`${path}/:credential`, async (request) => ({
    application_credential: credentialView(
      request,
      await credentials.show(request.tokenContext, pathId(request, 'user'), pathId(request, 'credential')),
    ),
  }))
  app.delete(`${path}/:credential`, async (request, reply) => {
    await credentials.remove(request.tokenContext, pathId(request, 'user'), pathId(request, 'credential'))
    return reply.status(204).send()
  })
}
