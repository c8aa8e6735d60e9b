import type { GroupFilter } from '../../db/repositories/identity/group.ts'
import type { IdentityStore } from '../../db/repositories/identity/index.ts'
import { newId, type Group, type User } from '../../domain/identity.ts'
import type { Principal } from '../../domain/principal.ts'
import type { Clock } from '../../ports/clock.ts'
import { duplicate, notFound, requireAdmin, requireSelfOrAdmin } from './errors.ts'

export interface NewGroup {
  name: string
  domainId?: string | undefined
  description?: string | undefined
}

/** Groups of users, which roles can be given to; the administrator's alone. */
export function createGroups(deps: { store: IdentityStore; clock: Clock; forget: () => void }) {
  const { store, clock, forget } = deps
  const get = async (id: string): Promise<Group> => {
    const group = await store.groups.find(id)
    if (group === undefined) throw notFound('group', id)
    return group
  }
  const requireUser = async (id: string): Promise<void> => {
    if ((await store.users.find(id)) === undefined) throw notFound('user', id)
  }
  return {
    async list(principal: Principal, filter: GroupFilter): Promise<Group[]> {
      requireAdmin(principal, 'identity:list_groups')
      return store.groups.list(filter)
    },
    async ofUser(principal: Principal, userId: string): Promise<Group[]> {
      requireSelfOrAdmin(principal, userId, 'identity:list_groups_for_user')
      await requireUser(userId)
      return store.groups.ofUser(userId)
    },
    async show(principal: Principal, id: string): Promise<Group> {
      requireAdmin(principal, 'identity:get_group')
      return get(id)
    },
    async create(principal: Principal, input: NewGroup): Promise<Group> {
      requireAdmin(principal, 'identity:create_group')
      const domainId = input.domainId ?? principal.userDomainId
      const group: Group = { id: newId(), domainId, name: input.name, description: input.description ?? '' }
      await store.transaction(async (records) => {
        if ((await records.domains.find(domainId)) === undefined) throw notFound('domain', domainId)
        const same = await records.groups.list({ domainId, name: group.name })
        if (same.length > 0) throw duplicate('group', group.name, domainId)
        await records.groups.create(group, clock.now().toISOString())
      })
      return group
    },
    async update(
      principal: Principal,
      id: string,
      fields: Partial<Pick<NewGroup, 'name' | 'description'>>,
    ): Promise<Group> {
      requireAdmin(principal, 'identity:update_group')
      const { domainId } = await get(id)
      await store.transaction(async (records) => {
        const same =
          fields.name === undefined ? [] : await records.groups.list({ domainId, name: fields.name })
        if (same.some((other) => other.id !== id)) throw duplicate('group', fields.name ?? '', domainId)
        await records.groups.update(id, fields)
      })
      return get(id)
    },
    async remove(principal: Principal, id: string): Promise<void> {
      requireAdmin(principal, 'identity:delete_group')
      await get(id)
      await store.transaction((records) => records.groups.remove(id))
      forget()
    },
    async members(principal: Principal, id: string): Promise<User[]> {
      requireAdmin(principal, 'identity:list_users_in_group')
      await get(id)
      const ids = new Set(await store.groups.memberIds(id))
      return (await store.users.list()).filter((user) => ids.has(user.id))
    },
    async addMember(principal: Principal, id: string, userId: string): Promise<void> {
      requireAdmin(principal, 'identity:add_user_to_group')
      await get(id)
      await requireUser(userId)
      await store.groups.addMember(id, userId)
      forget()
    },
    async removeMember(principal: Principal, id: string, userId: string): Promise<void> {
      requireAdmin(principal, 'identity:remove_user_from_group')
      if (!(await store.groups.removeMember(id, userId))) throw notFound('user in the group', userId)
      forget()
    },
    /** Throws `notFound` unless the user is in the group. */
    async checkMember(principal: Principal, id: string, userId: string): Promise<void> {
      requireSelfOrAdmin(principal, userId, 'identity:check_user_in_group')
      if (!(await store.groups.memberIds(id)).includes(userId)) throw notFound('user in the group', userId)
    },
  }
}

export type Groups = ReturnType<typeof createGroups>
