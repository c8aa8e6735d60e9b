import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { IdentityApp } from '../../app/identity/index.ts'
import type { TokenContext } from '../../app/identity/tokens.ts'
import { unauthenticated } from '../../app/identity/errors.ts'
import type { CatalogService } from '../../domain/catalog.ts'

/** What every file of routes is given. */
export interface IdentityRoutes {
  identity: IdentityApp
  catalog: readonly CatalogService[]
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Identity's own routes: everything that the request's token stands for. */
    tokenContext: TokenContext
  }
}

/** An onRequest hook: 401 without a valid `X-Auth-Token`. */
const withToken = (identity: IdentityApp) => async (request: FastifyRequest) => {
  const token = request.headers['x-auth-token']
  if (typeof token !== 'string' || token === '') throw unauthenticated('no token')
  request.tokenContext = await identity.tokens.context(token)
  request.principal = request.tokenContext.principal
}

/** Routes in a scope of their own in which every request carries a valid token. */
export function protectedRoutes(
  app: FastifyInstance,
  routes: IdentityRoutes,
  ...files: ((app: FastifyInstance, routes: IdentityRoutes) => void)[]
): void {
  void app.register(async (scope) => {
    scope.addHook('onRequest', withToken(routes.identity))
    for (const file of files) file(scope, routes)
  })
}

/** The named parameter of the path. */
export function pathId(request: FastifyRequest, name: string): string {
  const value = (request.params as Record<string, string>)[name]
  if (value === undefined) throw new Error(`the route has no parameter ${name}`)
  return value
}

/** `enabled`, `enabled=1`, `enabled=true` and the like; as Keystone, anything but a no is a yes. */
export function queryFlag(value: string | undefined): boolean | undefined {
  return value === undefined ? undefined : !['false', '0', 'no', 'off'].includes(value.toLowerCase())
}
