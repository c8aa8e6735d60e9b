import type { FastifyRequest } from 'fastify'
import type { TokenContext } from '../../app/identity/tokens.ts'
import { catalogFor, type CatalogService } from '../../domain/catalog.ts'
import { originOf } from '../origin.ts'
import { keystoneTime } from './envelope.ts'

/** The body of `POST` and `GET /v3/auth/tokens`. */
export function tokenView(
  request: FastifyRequest,
  context: TokenContext,
  catalog: readonly CatalogService[] | null,
) {
  const { claims, user, userDomain, project, scopeDomain, applicationCredential: credential } = context
  const domain = scopeDomain === null ? undefined : { id: scopeDomain.id, name: scopeDomain.name }
  const scoped = claims.scope.kind !== 'unscoped'
  return {
    token: {
      methods: claims.methods,
      user: {
        domain: { id: userDomain.id, name: userDomain.name },
        id: user.id,
        name: user.name,
        password_expires_at: null,
      },
      audit_ids: claims.parentAuditId === null ? [claims.auditId] : [claims.auditId, claims.parentAuditId],
      expires_at: keystoneTime(claims.expiresAt),
      issued_at: keystoneTime(claims.issuedAt),
      ...(project === null
        ? {}
        : { project: { domain, id: project.id, name: project.name }, is_domain: false }),
      ...(claims.scope.kind === 'domain' ? { domain } : {}),
      ...(claims.scope.kind === 'system' ? { system: { all: true } } : {}),
      ...(scoped ? { roles: context.roles.map((role) => ({ id: role.id, name: role.name })) } : {}),
      ...(scoped && catalog !== null
        ? { catalog: catalogFor(catalog, originOf(request), project?.id ?? null) }
        : {}),
      ...(credential === null
        ? {}
        : {
            application_credential: {
              id: credential.id,
              name: credential.name,
              restricted: !credential.unrestricted,
            },
          }),
    },
  }
}
