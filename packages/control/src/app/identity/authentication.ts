import type { IdentityStore } from '../../db/repositories/identity/index.ts'
import type { ApplicationCredential, Scope, User } from '../../domain/identity.ts'
import type { AuthMethod, TokenClaims } from '../../domain/token.ts'
import type { Clock } from '../../ports/clock.ts'
import { unauthenticated } from './errors.ts'
import type { Passwords } from './password.ts'
import { isForScope, type TokenContext, type Tokens } from './tokens.ts'

/** A domain by id or by name. */
export interface DomainName {
  id?: string | undefined
  name?: string | undefined
}

/** A user or project by id, or by name within a domain. */
export interface ScopedName extends DomainName {
  domain?: DomainName | undefined
}

export interface AuthRequest {
  methods: AuthMethod[]
  password?: { user: ScopedName; password: string } | undefined
  token?: string | undefined
  applicationCredential?: { id?: string; name?: string; user?: ScopedName; secret: string } | undefined
  /** undefined: what the request did not say: the user's default project, if there is one. */
  scope?:
    | { kind: 'unscoped' }
    | { kind: 'system' }
    | { kind: 'project'; project: ScopedName }
    | { kind: 'domain'; domain: DomainName }
    | undefined
}

export interface Authentication {
  /** Throws `unauthenticated`, always with the same text. */
  authenticate(request: AuthRequest): Promise<{ token: string; context: TokenContext }>
}

/** What one method proved. */
interface Proof {
  user: User
  parent: TokenClaims | null
  credential: ApplicationCredential | null
}

export function createAuthentication(deps: {
  store: IdentityStore
  passwords: Passwords
  tokens: Tokens
  clock: Clock
}): Authentication {
  const { store, passwords, tokens, clock } = deps

  const byPassword = async (request: AuthRequest): Promise<Proof> => {
    if (request.password === undefined) throw unauthenticated('no password given')
    const user = await findScoped(store, store.users, request.password.user)
    const secret = user === undefined ? undefined : await store.users.secret(user.id)
    const right = await passwords.matches(request.password.password, secret?.passwordHash)
    if (user === undefined || !right || !user.enabled) throw unauthenticated('wrong user or password')
    return { user, parent: null, credential: null }
  }

  const byToken = async (request: AuthRequest): Promise<Proof> => {
    const context = await tokens.context(request.token ?? '')
    // It would let a credential reach scopes that it was not made for.
    if (context.applicationCredential !== null) throw unauthenticated('token of an application credential')
    return { user: context.user, parent: context.claims, credential: null }
  }

  const byCredential = async (request: AuthRequest): Promise<Proof> => {
    const given = request.applicationCredential
    if (given === undefined) throw unauthenticated('no application credential given')
    const credential = await findCredential(store, given)
    const hash =
      credential === undefined ? null : await store.applicationCredentials.secretHash(credential.id)
    const right = await passwords.matches(given.secret, hash)
    const user = credential === undefined ? undefined : await store.users.find(credential.userId)
    if (credential === undefined || user === undefined || !right) {
      throw unauthenticated('wrong application credential or secret')
    }
    return { user, parent: null, credential }
  }

  const methods = { password: byPassword, token: byToken, application_credential: byCredential }

  return {
    async authenticate(request) {
      // Before anything is read: a password that changes meanwhile makes the token void.
      const issuedAt = clock.now().getTime()
      const proofs: Proof[] = []
      for (const method of request.methods) proofs.push(await methods[method](request))
      const proof = combine(proofs)
      const used = new Set<AuthMethod>([...request.methods, ...(proof.parent?.methods ?? [])])
      return tokens.issue({
        userId: proof.user.id,
        methods: [...used],
        scope: await findScope(store, request.scope, proof),
        applicationCredentialId: proof.credential?.id ?? null,
        parentAuditId: proof.parent?.auditId ?? null,
        issuedAt,
        expiresNoLaterThan: latestExpiry(proof),
      })
    },
  }
}

function combine(proofs: readonly Proof[]): Proof {
  const first = proofs[0]
  if (first === undefined || proofs.some((proof) => proof.user.id !== first.user.id)) {
    throw unauthenticated('the methods name different users')
  }
  return {
    user: first.user,
    parent: proofs.find((proof) => proof.parent !== null)?.parent ?? null,
    credential: proofs.find((proof) => proof.credential !== null)?.credential ?? null,
  }
}

/** A token made from a token lives no longer than that one; one of a credential no longer than that. */
function latestExpiry(proof: Proof): number | null {
  const ends = [proof.parent?.expiresAt, proof.credential?.expiresAt].flatMap((end) => {
    if (end === undefined || end === null) return []
    return [typeof end === 'number' ? end : Date.parse(end)]
  })
  return ends.length === 0 ? null : Math.min(...ends)
}

async function findDomainId(
  store: IdentityStore,
  domain: DomainName | undefined,
): Promise<string | undefined> {
  if (domain?.id !== undefined) return domain.id
  return domain?.name === undefined ? undefined : (await store.domains.byName(domain.name))?.id
}

interface Named<T> {
  find(id: string): Promise<T | undefined>
  byName(domainId: string, name: string): Promise<T | undefined>
}

async function findScoped<T>(
  store: IdentityStore,
  records: Named<T>,
  by: ScopedName,
): Promise<T | undefined> {
  if (by.id !== undefined) return records.find(by.id)
  const domainId = await findDomainId(store, by.domain)
  return domainId === undefined || by.name === undefined ? undefined : records.byName(domainId, by.name)
}

async function findCredential(
  store: IdentityStore,
  given: NonNullable<AuthRequest['applicationCredential']>,
): Promise<ApplicationCredential | undefined> {
  if (given.id !== undefined) return store.applicationCredentials.find(given.id)
  const user = given.user === undefined ? undefined : await findScoped(store, store.users, given.user)
  if (user === undefined || given.name === undefined) return undefined
  return (await store.applicationCredentials.ofUser(user.id, given.name))[0]
}

async function findScope(store: IdentityStore, asked: AuthRequest['scope'], proof: Proof): Promise<Scope> {
  if (proof.credential !== null) {
    if (asked !== undefined) throw unauthenticated('an application credential has its own scope')
    return { kind: 'project', id: proof.credential.projectId }
  }
  if (asked === undefined) return defaultScope(store, proof.user)
  if (asked.kind === 'project') {
    const project = await findScoped(store, store.projects, asked.project)
    if (project === undefined) throw unauthenticated('no such project')
    return { kind: 'project', id: project.id }
  }
  if (asked.kind === 'domain') {
    const id = await findDomainId(store, asked.domain)
    if (id === undefined) throw unauthenticated('no such domain')
    return { kind: 'domain', id }
  }
  return asked
}

/** The default project, where it can be used; else none. */
async function defaultScope(store: IdentityStore, user: User): Promise<Scope> {
  if (user.defaultProjectId === null) return { kind: 'unscoped' }
  const scope: Scope = { kind: 'project', id: user.defaultProjectId }
  const project = await store.projects.find(scope.id)
  if (project === undefined || !project.enabled) return { kind: 'unscoped' }
  const assigned = await store.assignments.ofUser(user.id)
  return assigned.some((each) => isForScope(each, scope)) ? scope : { kind: 'unscoped' }
}
