import type { IdentityRecords, IdentityStore } from '../../db/repositories/identity/index.ts'
import {
  systemTarget,
  withImplied,
  type ApplicationCredential,
  type Assignment,
  type Domain,
  type Project,
  type Role,
  type Scope,
  type User,
} from '../../domain/identity.ts'
import type { Principal } from '../../domain/principal.ts'
import type { TokenClaims } from '../../domain/token.ts'
import type { Clock } from '../../ports/clock.ts'
import { unauthenticated } from './errors.ts'
import { newAuditId, type TokenSigner } from './token-signer.ts'

/** How long an answer of the database about a token is believed. Changes made here end it at once. */
const believedMs = 5000
const mostRemembered = 10_000

/** A valid token, and what it stands for now. */
export interface TokenContext {
  claims: TokenClaims
  principal: Principal
  user: User
  userDomain: Domain
  project: Project | null
  /** Of the project, or the token's own. */
  scopeDomain: Domain | null
  /** Implied ones included. */
  roles: Role[]
  applicationCredential: ApplicationCredential | null
}

export interface Tokens {
  issue(
    claims: Omit<TokenClaims, 'auditId' | 'expiresAt'> & { expiresNoLaterThan: number | null },
  ): Promise<{ token: string; context: TokenContext }>
  /** Throws `unauthenticated`. */
  context(token: string): Promise<TokenContext>
  verify(token: string): Promise<Principal>
  revoke(claims: TokenClaims): Promise<void>
  /** To be called after every change of users, projects, roles and the like. */
  forget(): void
}

export function createTokens(deps: {
  store: IdentityStore
  signer: TokenSigner
  clock: Clock
  lifetimeSeconds: number
}): Tokens {
  const { store, signer, clock } = deps
  const remembered = new Map<string, { context: TokenContext; until: number }>()
  let generation = 0

  const context = async (token: string): Promise<TokenContext> => {
    const now = clock.now().getTime()
    const known = remembered.get(token)
    if (known !== undefined && known.until > now) return known.context
    const claims = signer.open(token)
    if (claims === undefined) throw unauthenticated('not a token of this installation')
    if (claims.expiresAt <= now) throw unauthenticated('expired')
    const before = generation
    const found = await resolveClaims(store, claims, now)
    // What was read before a change must not be believed after it.
    if (before === generation) {
      remembered.delete(token)
      const [oldest] = remembered.keys()
      if (remembered.size >= mostRemembered && oldest !== undefined) remembered.delete(oldest)
      remembered.set(token, { context: found, until: Math.min(now + believedMs, claims.expiresAt) })
    }
    return found
  }

  const forget = (): void => {
    generation++
    remembered.clear()
  }

  return {
    context,
    forget,
    verify: async (token) => (await context(token)).principal,
    async issue({ expiresNoLaterThan, ...given }) {
      const full = given.issuedAt + deps.lifetimeSeconds * 1000
      const claims: TokenClaims = {
        ...given,
        auditId: newAuditId(),
        expiresAt: Math.min(full, expiresNoLaterThan ?? full),
      }
      return { token: signer.sign(claims), context: await resolveClaims(store, claims, given.issuedAt) }
    },
    async revoke(claims) {
      const expiry = new Date(claims.expiresAt).toISOString()
      await store.transaction((records) =>
        records.revokedTokens.add(claims.auditId, expiry, clock.now().toISOString()),
      )
      forget()
    },
  }
}

/** What the claims stand for by the records as they are now; throws `unauthenticated` where they are void. */
async function resolveClaims(
  records: IdentityRecords,
  claims: TokenClaims,
  now: number,
): Promise<TokenContext> {
  if (await records.revokedTokens.has(claims.auditId)) throw unauthenticated('revoked')
  const user = await records.users.find(claims.userId)
  const secret = await records.users.secret(claims.userId)
  if (user === undefined || secret === undefined || !user.enabled) throw unauthenticated('no such user')
  if (claims.issuedAt < Date.parse(secret.tokensValidFrom)) throw unauthenticated('the password has changed')
  const userDomain = await enabledDomain(records, user.domainId)
  const project = claims.scope.kind === 'project' ? await enabledProject(records, claims.scope.id) : null
  const scopeDomainId = claims.scope.kind === 'domain' ? claims.scope.id : project?.domainId
  const scopeDomain = scopeDomainId === undefined ? null : await enabledDomain(records, scopeDomainId)
  const credential = await usableCredential(records, claims, now)
  const roles = await effectiveRoles(records, user.id, claims.scope, credential)
  if (claims.scope.kind !== 'unscoped' && roles.length === 0) throw unauthenticated('no role in the scope')
  return {
    claims,
    user,
    userDomain,
    project,
    scopeDomain,
    roles,
    applicationCredential: credential,
    principal: {
      userId: user.id,
      userName: user.name,
      userDomainId: user.domainId,
      projectId: project?.id ?? null,
      projectName: project?.name ?? null,
      roles: roles.map((role) => role.name.toLowerCase()),
      systemScope: claims.scope.kind === 'system',
      expiresAt: Math.floor(claims.expiresAt / 1000),
    },
  }
}

async function enabledDomain(records: IdentityRecords, id: string): Promise<Domain> {
  const domain = await records.domains.find(id)
  if (domain === undefined || !domain.enabled) throw unauthenticated('no such domain')
  return domain
}

async function enabledProject(records: IdentityRecords, id: string): Promise<Project> {
  const project = await records.projects.find(id)
  if (project === undefined || !project.enabled) throw unauthenticated('no such project')
  return project
}

async function usableCredential(
  records: IdentityRecords,
  claims: TokenClaims,
  now: number,
): Promise<ApplicationCredential | null> {
  if (claims.applicationCredentialId === null) return null
  const credential = await records.applicationCredentials.find(claims.applicationCredentialId)
  if (credential === undefined || credential.userId !== claims.userId) {
    throw unauthenticated('no such application credential')
  }
  if (credential.expiresAt !== null && Date.parse(credential.expiresAt) <= now) {
    throw unauthenticated('the application credential has expired')
  }
  return credential
}

/** Whether an assignment is for this scope. */
export const isForScope = (assignment: Assignment, scope: Scope): boolean =>
  assignment.targetType === scope.kind &&
  assignment.targetId === (scope.kind === 'project' || scope.kind === 'domain' ? scope.id : systemTarget)

/** An application credential has those of its roles that its user still has. */
async function effectiveRoles(
  records: IdentityRecords,
  userId: string,
  scope: Scope,
  credential: ApplicationCredential | null,
): Promise<Role[]> {
  if (scope.kind === 'unscoped') return []
  const assigned = (await records.assignments.ofUser(userId)).filter((each) => isForScope(each, scope))
  if (assigned.length === 0) return []
  const implied = await records.roles.implied()
  let ids = withImplied(
    assigned.map((each) => each.roleId),
    implied,
  )
  if (credential !== null) {
    const held = ids
    ids = withImplied(
      credential.roleIds.filter((id) => held.has(id)),
      implied,
    )
  }
  return (await records.roles.list()).filter((role) => ids.has(role.id))
}
