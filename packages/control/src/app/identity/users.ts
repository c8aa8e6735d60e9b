import type { UserFilter } from '../../db/repositories/identity/user.ts'
import type { IdentityStore } from '../../db/repositories/identity/index.ts'
import { newId, type User } from '../../domain/identity.ts'
import type { Principal } from '../../domain/principal.ts'
import type { Clock } from '../../ports/clock.ts'
import { duplicate, notFound, requireAdmin, requireSelfOrAdmin, unauthenticated } from './errors.ts'
import type { Passwords } from './password.ts'

export interface NewUser {
  name: string
  domainId?: string | undefined
  description?: string | null | undefined
  email?: string | null | undefined
  defaultProjectId?: string | null | undefined
  enabled?: boolean | undefined
  password?: string | null | undefined
}

export type UserChange = Partial<Omit<NewUser, 'domainId'>>

/** Users. Each may see itself and change its own password; the rest is the administrator's. */
export function createUsers(deps: {
  store: IdentityStore
  passwords: Passwords
  clock: Clock
  forget: () => void
}) {
  const { store, passwords, clock, forget } = deps
  const get = async (id: string): Promise<User> => {
    const user = await store.users.find(id)
    if (user === undefined) throw notFound('user', id)
    return user
  }
  const hashOf = async (password: string | null | undefined): Promise<string | null> =>
    password === undefined || password === null ? null : passwords.hash(password)

  return {
    async list(principal: Principal, filter: UserFilter): Promise<User[]> {
      requireAdmin(principal, 'identity:list_users')
      return store.users.list(filter)
    },
    async show(principal: Principal, id: string): Promise<User> {
      requireSelfOrAdmin(principal, id, 'identity:get_user')
      return get(id)
    },
    async create(principal: Principal, input: NewUser): Promise<User> {
      requireAdmin(principal, 'identity:create_user')
      const domainId = input.domainId ?? principal.userDomainId
      const user: User = {
        id: newId(),
        domainId,
        name: input.name,
        description: input.description ?? null,
        email: input.email ?? null,
        defaultProjectId: input.defaultProjectId ?? null,
        enabled: input.enabled ?? true,
      }
      const hash = await hashOf(input.password)
      await store.transaction(async (records) => {
        if ((await records.domains.find(domainId)) === undefined) throw notFound('domain', domainId)
        if ((await records.users.byName(domainId, user.name)) !== undefined) {
          throw duplicate('user', user.name, domainId)
        }
        await records.users.create(user, hash, clock.now().toISOString())
      })
      return user
    },
    /** A new password, and disabling, make every token of the user void. */
    async update(principal: Principal, id: string, change: UserChange): Promise<User> {
      requireAdmin(principal, 'identity:update_user')
      const user = await get(id)
      const { password, ...fields } = change
      const hash = password === undefined ? undefined : await hashOf(password)
      await store.transaction(async (records) => {
        const named =
          fields.name === undefined ? undefined : await records.users.byName(user.domainId, fields.name)
        if (named !== undefined && named.id !== id) throw duplicate('user', named.name, named.domainId)
        const ends = hash !== undefined || fields.enabled === false
        await records.users.update(id, {
          ...fields,
          ...(hash === undefined ? {} : { passwordHash: hash }),
          ...(ends ? { tokensValidFrom: clock.now().toISOString() } : {}),
        })
      })
      forget()
      return get(id)
    },
    /** The user's own change: the old password is the authentication. Throws `unauthenticated` for a wrong one. */
    async changePassword(id: string, original: string, password: string): Promise<void> {
      const user = await store.users.find(id)
      const secret = await store.users.secret(id)
      const right = await passwords.matches(original, secret?.passwordHash)
      if (user === undefined || !user.enabled || !right) throw unauthenticated('wrong original password')
      const hash = await passwords.hash(password)
      await store.users.update(id, { passwordHash: hash, tokensValidFrom: clock.now().toISOString() })
      forget()
    },
    async remove(principal: Principal, id: string): Promise<void> {
      requireAdmin(principal, 'identity:delete_user')
      await get(id)
      await store.transaction((records) => records.users.remove(id))
      forget()
    },
  }
}

export type Users = ReturnType<typeof createUsers>
