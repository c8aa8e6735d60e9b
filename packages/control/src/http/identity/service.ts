import type { Logger } from 'pino'
import { createIdentityApp, type IdentityApp, type IdentityOptions } from '../../app/identity/index.ts'
import { defaultCatalog, type CatalogService } from '../../domain/catalog.ts'
import type { TokenVerifier } from '../authenticate.ts'
import { acceptJson } from '../parse.ts'
import type { HttpService } from '../server.ts'
import { applicationCredentialRoutes } from './application-credentials.ts'
import { assignmentRoutes, grantRoutes } from './assignments.ts'
import { authRoutes } from './auth.ts'
import { catalogRoutes } from './catalog.ts'
import { protectedRoutes } from './context.ts'
import { domainRoutes } from './domains.ts'
import { keystoneErrors } from './envelope.ts'
import { groupRoutes, memberRoutes } from './groups.ts'
import { projectRoutes } from './projects.ts'
import { inferenceRoutes, roleRoutes } from './roles.ts'
import { passwordRoutes, userRoutes } from './users.ts'
import { versionRoutes } from './versions.ts'

export interface Identity {
  /** What the other services check tokens with. */
  tokens: TokenVerifier
  /** Idempotent; to be called before the first request. */
  bootstrap: IdentityApp['bootstrap']
  /** For checks of quotas and the like. */
  projects: { exists(id: string): Promise<boolean> }
  service: HttpService
}

/** Identity v3, whole: tables, rules and HTTP. */
export async function createIdentity(
  options: IdentityOptions & { log: Logger; catalog?: readonly CatalogService[] },
): Promise<Identity> {
  const identity = await createIdentityApp(options)
  return {
    tokens: identity.tokens,
    bootstrap: identity.bootstrap,
    projects: identity.projects,
    service: identityService(identity, options.catalog ?? defaultCatalog),
  }
}

function identityService(identity: IdentityApp, catalog: readonly CatalogService[]): HttpService {
  return {
    prefix: '/identity',
    plugin: async (app) => {
      const routes = { identity, catalog }
      acceptJson(app)
      keystoneErrors(app)
      versionRoutes(app)
      authRoutes(app, routes)
      passwordRoutes(app, routes)
      protectedRoutes(app, routes, catalogRoutes, domainRoutes, projectRoutes, userRoutes, roleRoutes)
      protectedRoutes(app, routes, inferenceRoutes, groupRoutes, memberRoutes, grantRoutes, assignmentRoutes)
      protectedRoutes(app, routes, applicationCredentialRoutes)
    },
  }
}
