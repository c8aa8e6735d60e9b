import { DomainError } from '@volant/contract'
import type { ProjectFilter } from '../../db/repositories/identity/project.ts'
import type { IdentityRecords, IdentityStore } from '../../db/repositories/identity/index.ts'
import { newId, type Project } from '../../domain/identity.ts'
import { isAdmin, type Principal } from '../../domain/principal.ts'
import type { Clock } from '../../ports/clock.ts'
import { duplicate, forbidden, notFound, requireAdmin, requireSelfOrAdmin } from './errors.ts'

export interface NewProject {
  name: string
  domainId?: string | undefined
  parentId?: string | undefined
  description?: string | undefined
  enabled?: boolean | undefined
  tags?: string[] | undefined
}

export type ProjectChange = Partial<Pick<NewProject, 'name' | 'description' | 'enabled' | 'tags'>>

/** Projects. Users may see those they have a role in; the rest is the administrator's. */
export function createProjects(deps: { store: IdentityStore; clock: Clock; forget: () => void }) {
  const { store, clock, forget } = deps
  const get = async (id: string): Promise<Project> => {
    const project = await store.projects.find(id)
    if (project === undefined) throw notFound('project', id)
    return project
  }
  const ofUser = async (userId: string): Promise<Project[]> => {
    const assigned = await store.assignments.ofUser(userId)
    const ids = assigned.filter((each) => each.targetType === 'project').map((each) => each.targetId)
    return ids.length === 0 ? [] : store.projects.list({ ids })
  }
  return {
    /** For the other services' checks, such as of a quota's project. */
    async exists(id: string): Promise<boolean> {
      return (await store.projects.find(id)) !== undefined
    },
    async list(principal: Principal, filter: ProjectFilter): Promise<Project[]> {
      requireAdmin(principal, 'identity:list_projects')
      return store.projects.list(filter)
    },
    async listOfUser(principal: Principal, userId: string): Promise<Project[]> {
      requireSelfOrAdmin(principal, userId, 'identity:list_user_projects')
      if ((await store.users.find(userId)) === undefined) throw notFound('user', userId)
      return ofUser(userId)
    },
    /** Those that the caller can get a token for. */
    async available(principal: Principal): Promise<Project[]> {
      return (await ofUser(principal.userId)).filter((project) => project.enabled)
    },
    async show(principal: Principal, id: string): Promise<Project> {
      if (!isAdmin(principal) && principal.projectId !== id) {
        const own = await ofUser(principal.userId)
        if (!own.some((project) => project.id === id)) throw forbidden('identity:get_project')
      }
      return get(id)
    },
    async create(principal: Principal, input: NewProject): Promise<Project> {
      requireAdmin(principal, 'identity:create_project')
      const project = await store.transaction(async (records) => {
        const made = await place(records, input, principal)
        if ((await records.projects.byName(made.domainId, made.name)) !== undefined) {
          throw duplicate('project', made.name, made.domainId)
        }
        await records.projects.create(made, clock.now().toISOString())
        return made
      })
      return project
    },
    async update(principal: Principal, id: string, fields: ProjectChange): Promise<Project> {
      requireAdmin(principal, 'identity:update_project')
      const project = await get(id)
      await store.transaction(async (records) => {
        const named =
          fields.name === undefined ? undefined : await records.projects.byName(project.domainId, fields.name)
        if (named !== undefined && named.id !== id) throw duplicate('project', named.name, named.domainId)
        await records.projects.update(id, fields)
      })
      forget()
      return get(id)
    },
    async remove(principal: Principal, id: string): Promise<void> {
      requireAdmin(principal, 'identity:delete_project')
      await get(id)
      await store.transaction(async (records) => {
        if ((await records.projects.list({ parentId: id })).length > 0) {
          throw new DomainError(
            'forbidden',
            `Cannot delete the project ${id} since it is not a leaf in the hierarchy.`,
          )
        }
        await records.projects.remove(id)
      })
      forget()
    },
  }
}

export type Projects = ReturnType<typeof createProjects>

/** A project's domain is its parent's; without either it is the caller's. */
async function place(records: IdentityRecords, input: NewProject, principal: Principal): Promise<Project> {
  const parent = input.parentId === undefined ? undefined : await records.projects.find(input.parentId)
  const domainId = input.domainId ?? parent?.domainId ?? input.parentId ?? principal.userDomainId
  if ((await records.domains.find(domainId)) === undefined) throw notFound('domain', domainId)
  const parentId = input.parentId ?? domainId
  if (parent === undefined && parentId !== domainId) throw notFound('project', parentId)
  if (parent !== undefined && parent.domainId !== domainId) {
    throw new DomainError('invalid', 'A project must be in the same domain as its parent.')
  }
  return {
    id: newId(),
    domainId,
    parentId,
    name: input.name,
    description: input.description ?? '',
    enabled: input.enabled ?? true,
    tags: input.tags ?? [],
  }
}
