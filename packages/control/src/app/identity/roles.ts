import { DomainError } from '@volant/contract'
import type { IdentityRecords, IdentityStore } from '../../db/repositories/identity/index.ts'
import { newId, withImplied, type ImpliedRole, type Role } from '../../domain/identity.ts'
import type { Principal } from '../../domain/principal.ts'
import type { Clock } from '../../ports/clock.ts'
import { duplicate, notFound, requireAdmin } from './errors.ts'

export interface NewRole {
  name: string
  description?: string | null | undefined
}

/** Roles and what they imply; the administrator's alone. */
export function createRoles(deps: { store: IdentityStore; clock: Clock; forget: () => void }) {
  const { store, clock, forget } = deps
  const get = async (id: string): Promise<Role> => {
    const role = await store.roles.find(id)
    if (role === undefined) throw notFound('role', id)
    return role
  }
  return {
    async list(principal: Principal, filter: { name?: string | undefined }): Promise<Role[]> {
      requireAdmin(principal, 'identity:list_roles')
      return store.roles.list(filter)
    },
    async show(principal: Principal, id: string): Promise<Role> {
      requireAdmin(principal, 'identity:get_role')
      return get(id)
    },
    async create(principal: Principal, input: NewRole): Promise<Role> {
      requireAdmin(principal, 'identity:create_role')
      const role: Role = { id: newId(), name: input.name, description: input.description ?? null }
      await store.transaction(async (records) => {
        await requireUnique(records, role)
        await records.roles.create(role, clock.now().toISOString())
      })
      return role
    },
    async update(principal: Principal, id: string, fields: Partial<NewRole>): Promise<Role> {
      requireAdmin(principal, 'identity:update_role')
      await get(id)
      await store.transaction(async (records) => {
        if (fields.name !== undefined) await requireUnique(records, { id, name: fields.name })
        await records.roles.update(id, fields)
      })
      forget()
      return get(id)
    },
    async remove(principal: Principal, id: string): Promise<void> {
      requireAdmin(principal, 'identity:delete_role')
      await get(id)
      await store.transaction((records) => records.roles.remove(id))
      forget()
    },
    /** Which role implies which, all of them. */
    async inferences(principal: Principal): Promise<{ prior: Role; implies: Role[] }[]> {
      requireAdmin(principal, 'identity:list_role_inference_rules')
      const roles = await store.roles.list()
      const rules = await store.roles.implied()
      return roles.flatMap((prior) => {
        const ids = new Set(rules.filter((rule) => rule.priorRoleId === prior.id).map((r) => r.impliedRoleId))
        return ids.size === 0 ? [] : [{ prior, implies: roles.filter((role) => ids.has(role.id)) }]
      })
    },
    async imply(principal: Principal, rule: ImpliedRole): Promise<{ prior: Role; implied: Role }> {
      requireAdmin(principal, 'identity:create_implied_role')
      const prior = await get(rule.priorRoleId)
      const implied = await get(rule.impliedRoleId)
      await store.transaction(async (records) => {
        const beyond = withImplied([implied.id], await records.roles.implied())
        if (beyond.has(prior.id)) {
          throw new DomainError('invalid', `Role ${implied.name} implies ${prior.name} already: no circles.`)
        }
        await records.roles.imply(rule)
      })
      forget()
      return { prior, implied }
    },
    async unimply(principal: Principal, rule: ImpliedRole): Promise<void> {
      requireAdmin(principal, 'identity:delete_implied_role')
      if (!(await store.roles.unimply(rule))) {
        throw notFound('implied role', `${rule.priorRoleId} implies ${rule.impliedRoleId}`)
      }
      forget()
    },
  }
}

export type Roles = ReturnType<typeof createRoles>

/** Policies compare role names without regard to case, so `ADMIN` beside `admin` would be the same role. */
async function requireUnique(records: IdentityRecords, role: { id: string; name: string }): Promise<void> {
  const name = role.name.toLowerCase()
  const same = (await records.roles.list()).find((each) => each.name.toLowerCase() === name)
  if (same !== undefined && same.id !== role.id) throw duplicate('role', role.name)
}
