import { randomBytes } from 'node:crypto'
import { DomainError } from '@volant/contract'
import type { IdentityStore } from '../../db/repositories/identity/index.ts'
import { newId, type ApplicationCredential, type Role } from '../../domain/identity.ts'
import type { Clock } from '../../ports/clock.ts'
import { duplicate, forbidden, notFound, requireSelfOrAdmin } from './errors.ts'
import type { Passwords } from './password.ts'
import type { TokenContext } from './tokens.ts'

export interface NewApplicationCredential {
  name: string
  description?: string | null | undefined
  /** Made up when absent. */
  secret?: string | null | undefined
  roles?: { id?: string | undefined; name?: string | undefined }[] | undefined
  /** UTC, ISO 8601. */
  expiresAt?: string | null | undefined
  unrestricted?: boolean | undefined
}

/** With the roles it has, and the project. */
export interface ApplicationCredentialView extends ApplicationCredential {
  roles: Role[]
  /** Shown once, when it is made. */
  secret?: string
}

/** Credentials of a user for one project, with some of the user's roles there. Each user's own. */
export function createApplicationCredentials(deps: {
  store: IdentityStore
  passwords: Passwords
  clock: Clock
  forget: () => void
}) {
  const { store, passwords, clock, forget } = deps
  const view = async (credential: ApplicationCredential): Promise<ApplicationCredentialView> => {
    const ids = new Set(credential.roleIds)
    return { ...credential, roles: (await store.roles.list()).filter((role) => ids.has(role.id)) }
  }
  const get = async (userId: string, id: string): Promise<ApplicationCredential> => {
    const credential = await store.applicationCredentials.find(id)
    if (credential === undefined || credential.userId !== userId) {
      throw notFound('application credential', id)
    }
    return credential
  }
  return {
    async list(context: TokenContext, userId: string, name?: string): Promise<ApplicationCredentialView[]> {
      requireSelfOrAdmin(context.principal, userId, 'identity:list_application_credentials')
      return Promise.all((await store.applicationCredentials.ofUser(userId, name)).map(view))
    },
    async show(context: TokenContext, userId: string, id: string): Promise<ApplicationCredentialView> {
      requireSelfOrAdmin(context.principal, userId, 'identity:get_application_credential')
      return view(await get(userId, id))
    },
    async create(
      context: TokenContext,
      userId: string,
      input: NewApplicationCredential,
    ): Promise<ApplicationCredentialView> {
      const { project } = context
      if (context.principal.userId !== userId) throw forbidden('identity:create_application_credential')
      requireUnrestricted(context, 'identity:create_application_credential')
      if (project === null) {
        throw new DomainError(
          'invalid',
          'An application credential needs a token that is scoped to a project.',
        )
      }
      const secret = input.secret ?? randomBytes(48).toString('base64url')
      const credential: ApplicationCredential = {
        id: newId(),
        userId,
        projectId: project.id,
        name: input.name,
        description: input.description ?? null,
        roleIds: chooseRoles(context.roles, input.roles).map((role) => role.id),
        expiresAt: checkedExpiry(input.expiresAt, clock.now()),
        unrestricted: input.unrestricted ?? false,
      }
      const hash = await passwords.hash(secret)
      await store.transaction(async (records) => {
        const same = await records.applicationCredentials.ofUser(userId, credential.name)
        if (same.length > 0) throw duplicate('application_credential', credential.name)
        await records.applicationCredentials.create(credential, hash, clock.now().toISOString())
      })
      return { ...(await view(credential)), secret }
    },
    /** Its tokens end with it. */
    async remove(context: TokenContext, userId: string, id: string): Promise<void> {
      requireSelfOrAdmin(context.principal, userId, 'identity:delete_application_credential')
      requireUnrestricted(context, 'identity:delete_application_credential')
      await get(userId, id)
      await store.applicationCredentials.remove(id)
      forget()
    },
  }
}

/** A restricted credential must not make itself a successor. */
function requireUnrestricted(context: TokenContext, policy: string): void {
  if (context.applicationCredential !== null && !context.applicationCredential.unrestricted) {
    throw forbidden(policy)
  }
}

function chooseRoles(held: readonly Role[], asked: NewApplicationCredential['roles']): Role[] {
  if (asked === undefined || asked.length === 0) return [...held]
  return asked.map((wanted) => {
    const role = held.find((each) =>
      wanted.id === undefined ? each.name === wanted.name : each.id === wanted.id,
    )
    if (role === undefined) {
      throw notFound('role assignment with role', wanted.id ?? wanted.name ?? '')
    }
    return role
  })
}

function checkedExpiry(text: string | null | undefined, now: Date): string | null {
  if (text === undefined || text === null) return null
  const time = new Date(/(Z|[+-]\d\d:\d\d)$/.test(text) ? text : `${text}Z`)
  if (Number.isNaN(time.getTime())) {
    throw new DomainError('invalid', 'expires_at must be a time in ISO 8601, such as 2027-01-31T12:00:00Z.')
  }
  if (time <= now) throw new DomainError('invalid', 'expires_at must be in the future.')
  return time.toISOString()
}
