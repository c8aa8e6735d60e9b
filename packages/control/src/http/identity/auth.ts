import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { TokenContext } from '../../app/identity/tokens.ts'
import { forbidden, notFound } from '../../app/identity/errors.ts'
import { catalogFor } from '../../domain/catalog.ts'
import { originOf } from '../origin.ts'
import { parseAuthRequest } from './auth-schema.ts'
import { protectedRoutes, type IdentityRoutes } from './context.ts'
import { domainView } from './domains.ts'
import { linkTo, listLinks } from './envelope.ts'
import { projectView } from './projects.ts'
import { tokenView } from './token-view.ts'

/** `/v3/auth`: tokens, the catalogue, and what a token can be scoped to. */
export function authRoutes(app: FastifyInstance, routes: IdentityRoutes): void {
  app.post('/v3/auth/tokens', async (request, reply) => {
    const { token, context } = await routes.identity.authentication.authenticate(
      parseAuthRequest(request.body),
    )
    return reply
      .status(201)
      .header('x-subject-token', token)
      .header('vary', 'X-Auth-Token')
      .send(tokenView(request, context, wantsCatalog(request) ? routes.catalog : null))
  })
  protectedRoutes(app, routes, subjectRoutes, listRoutes)
}

const wantsCatalog = (request: FastifyRequest): boolean =>
  !('nocatalog' in (request.query as Record<string, unknown>))

function subjectRoutes(app: FastifyInstance, routes: IdentityRoutes): void {
  const { tokens } = routes.identity
  /** Its owner and an administrator may look at a token, and end it. */
  const subject = async (request: FastifyRequest, policy: string): Promise<TokenContext> => {
    const token = request.headers['x-subject-token']
    if (typeof token !== 'string' || token === '') {
      throw new DomainError('invalid', 'The header X-Subject-Token must hold the token to be looked at.')
    }
    const { principal } = request
    const context = await tokens.context(token).catch((error: unknown) => {
      if (error instanceof DomainError && error.code === 'unauthenticated') throw notFound('token', 'given')
      throw error
    })
    const privileged = principal.roles.includes('admin') || principal.roles.includes('service')
    if (!privileged && context.user.id !== principal.userId) throw forbidden(policy)
    return context
  }

  app.get('/v3/auth/tokens', async (request, reply) => {
    const context = await subject(request, 'identity:validate_token')
    void reply.header('x-subject-token', request.headers['x-subject-token']).header('vary', 'X-Auth-Token')
    return tokenView(request, context, wantsCatalog(request) ? routes.catalog : null)
  })
  app.delete('/v3/auth/tokens', async (request, reply) => {
    const { claims } = await subject(request, 'identity:revoke_token')
    await tokens.revoke(claims)
    return reply.status(204).send()
  })
}

function listRoutes(app: FastifyInstance, routes: IdentityRoutes): void {
  const { projects, domains } = routes.identity
  app.get('/v3/auth/catalog', (request) => ({
    catalog: catalogFor(routes.catalog, originOf(request), request.principal.projectId),
    links: { self: linkTo(request, '/auth/catalog') },
  }))
  app.get('/v3/auth/projects', async (request) => ({
    projects: (await projects.available(request.principal)).map((project) => projectView(request, project)),
    links: listLinks(request),
  }))
  app.get('/v3/auth/domains', async (request) => ({
    domains: (await domains.available(request.principal)).map((domain) => domainView(request, domain)),
    links: listLinks(request),
  }))
  app.get('/v3/auth/system', async (request) => ({
    system: (await domains.hasSystemRole(request.principal)) ? [{ all: true }] : [],
    links: listLinks(request),
  }))
}
