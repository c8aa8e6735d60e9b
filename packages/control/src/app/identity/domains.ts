import type { DomainFilter } from '../../db/repositories/identity/domain.ts'
import type { IdentityStore } from '../../db/repositories/identity/index.ts'
import { defaultDomainId, newId, type Domain } from '../../domain/identity.ts'
import { isAdmin, type Principal } from '../../domain/principal.ts'
import type { Clock } from '../../ports/clock.ts'
import { DomainError } from '@volant/contract'
import { duplicate, forbidden, notFound, requireAdmin } from './errors.ts'

export interface NewDomain {
  name: string
  description?: string | undefined
  enabled?: boolean | undefined
}

/** Domains. Anyone may see their own; the rest is the administrator's. */
export function createDomains(deps: { store: IdentityStore; clock: Clock; forget: () => void }) {
  const { store, clock, forget } = deps
  const get = async (id: string): Promise<Domain> => {
    const domain = await store.domains.find(id)
    if (domain === undefined) throw notFound('domain', id)
    return domain
  }
  return {
    async list(principal: Principal, filter: DomainFilter): Promise<Domain[]> {
      requireAdmin(principal, 'identity:list_domains')
      return store.domains.list(filter)
    },
    /** Those in which the caller has a role of its own. */
    async available(principal: Principal): Promise<Domain[]> {
      const assigned = await store.assignments.ofUser(principal.userId)
      const ids = new Set(
        assigned.filter((each) => each.targetType === 'domain').map((each) => each.targetId),
      )
      return (await store.domains.list({ enabled: true })).filter((domain) => ids.has(domain.id))
    },
    async hasSystemRole(principal: Principal): Promise<boolean> {
      const assigned = await store.assignments.ofUser(principal.userId)
      return assigned.some((each) => each.targetType === 'system')
    },
    async show(principal: Principal, id: string): Promise<Domain> {
      if (!isAdmin(principal) && principal.userDomainId !== id) throw forbidden('identity:get_domain')
      return get(id)
    },
    async create(principal: Principal, input: NewDomain): Promise<Domain> {
      requireAdmin(principal, 'identity:create_domain')
      const domain: Domain = {
        id: newId(),
        name: input.name,
        description: input.description ?? '',
        enabled: input.enabled ?? true,
      }
      await store.transaction(async (records) => {
        if ((await records.domains.byName(domain.name)) !== undefined) throw duplicate('domain', domain.name)
        await records.domains.create(domain, clock.now().toISOString())
      })
      return domain
    },
    async update(principal: Principal, id: string, fields: Partial<NewDomain>): Promise<Domain> {
      requireAdmin(principal, 'identity:update_domain')
      if (id === defaultDomainId && fields.enabled === false) {
        throw new DomainError('forbidden', 'The default domain cannot be disabled: nobody could undo it.')
      }
      await get(id)
      await store.transaction(async (records) => {
        const named = fields.name === undefined ? undefined : await records.domains.byName(fields.name)
        if (named !== undefined && named.id !== id) throw duplicate('domain', named.name)
        await records.domains.update(id, fields)
      })
      forget()
      return get(id)
    },
    /** With everything in it. Only a disabled domain can go, as in Keystone. */
    async remove(principal: Principal, id: string): Promise<void> {
      requireAdmin(principal, 'identity:delete_domain')
      const domain = await get(id)
      if (id === defaultDomainId) throw new DomainError('forbidden', 'The default domain cannot be deleted.')
      if (domain.enabled) {
        throw new DomainError('forbidden', 'Cannot delete a domain that is enabled, please disable it first.')
      }
      await store.transaction(async (records) => {
        for (const user of await records.users.list({ domainId: id })) await records.users.remove(user.id)
        for (const group of await records.groups.list({ domainId: id })) await records.groups.remove(group.id)
        for (const project of await records.projects.list({ domainId: id })) {
          await records.projects.remove(project.id)
        }
        await records.domains.remove(id)
      })
      forget()
    },
  }
}

export type Domains = ReturnType<typeof createDomains>
