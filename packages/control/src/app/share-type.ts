import { randomUUID } from 'node:crypto'
import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import { defaultShareType, defaultShareTypeId, requireSpecs } from '../domain/share-type.ts'
import type { ShareType } from '../domain/share.ts'
import type { Clock } from '../ports/clock.ts'
import type { ShareTypeRecords } from '../ports/shares.ts'

export interface ShareTypes {
  /** Makes the default type where there is none. */
  ensureDefault(): Promise<void>
  /** The type of that id or name, for a new share; null: the default. Throws `notFound` with Manila's text. */
  usable(principal: Principal, idOrName: string | null): Promise<ShareType>
  show(principal: Principal, id: string): Promise<ShareType>
  default(principal: Principal): Promise<ShareType>
  /** Those the principal may use; all for an administrator. Absent `isPublic`: either. */
  list(
    principal: Principal,
    filter: { isPublic?: boolean; extraSpecs?: Record<string, string> },
  ): Promise<ShareType[]>
  create(
    principal: Principal,
    fields: Pick<ShareType, 'name' | 'description' | 'isPublic' | 'extraSpecs'>,
  ): Promise<ShareType>
  update(
    principal: Principal,
    id: string,
    fields: Partial<Pick<ShareType, 'name' | 'description' | 'isPublic'>>,
  ): Promise<ShareType>
  remove(principal: Principal, id: string): Promise<void>
  setExtraSpecs(principal: Principal, id: string, specs: Record<string, string>): Promise<void>
  removeExtraSpec(principal: Principal, id: string, key: string): Promise<void>
  /** Projects that may use a private type. */
  projects(principal: Principal, id: string): Promise<string[]>
  addProject(principal: Principal, id: string, projectId: string): Promise<void>
  removeProject(principal: Principal, id: string, projectId: string): Promise<void>
}

interface Sources {
  types: ShareTypeRecords
  clock: Clock
}

export function createShareTypes(sources: Sources): ShareTypes {
  const { types, clock } = sources
  const now = (): string => clock.now().toISOString()
  const show: ShareTypes['show'] = async (principal, id) => {
    enforce(principal, 'share_type:show', 'reader')
    return found(sources, principal, id)
  }
  return {
    ...access(sources),
    async ensureDefault() {
      if ((await types.find(defaultShareTypeId)) === undefined) {
        // Another one with the name is an administrator's own.
        await types.create(defaultShareType(now())).catch((error: unknown) => {
          if (!(error instanceof DomainError && error.code === 'conflict')) throw error
        })
      }
    },
    async usable(principal, idOrName) {
      if (idOrName === null) return defaultOf(types)
      for (const type of await types.list()) {
        const named = type.id === idOrName || type.name === idOrName
        if (named && (await isUsable(types, principal, type))) return type
      }
      throw new DomainError('notFound', `Share type not found: ${idOrName.slice(0, 80)}.`)
    },
    show,
    async default(principal) {
      enforce(principal, 'share_type:default', 'reader')
      return defaultOf(types)
    },
    async list(principal, filter) {
      enforce(principal, 'share_type:index', 'reader')
      const shown: ShareType[] = []
      for (const type of await types.list()) {
        const matches =
          (filter.isPublic === undefined || type.isPublic === filter.isPublic) &&
          Object.entries(filter.extraSpecs ?? {}).every(
            ([key, value]) => (type.extraSpecs[key] ?? '').toLowerCase() === value.toLowerCase(),
          )
        if (matches && (await isUsable(types, principal, type))) shown.push(type)
      }
      return shown
    },
    async create(principal, fields) {
      enforce(principal, 'share_type:create', 'admin')
      if (fields.extraSpecs['driver_handles_share_servers'] === undefined) {
        throw new DomainError(
          'invalid',
          'Invalid extra_spec: driver_handles_share_servers is required: set it to False.',
        )
      }
      requireSpecs(fields.extraSpecs)
      const type = { id: randomUUID(), ...fields, isDefault: false, createdAt: now(), updatedAt: null }
      await types.create(type)
      return type
    },
    async update(principal, id, fields) {
      const type = await administered(sources, principal, id, 'share_type:update')
      if (fields.name !== undefined && fields.name !== type.name) {
        if ((await types.list()).some(({ name }) => name === fields.name)) {
          throw new DomainError('conflict', `Share Type ${fields.name} already exists.`)
        }
      }
      if (type.isDefault && fields.isPublic === false) {
        throw new DomainError(
          'invalid',
          'The default share type must be public: shares that name none have it.',
        )
      }
      await types.update(id, { ...fields, updatedAt: now() })
      return { ...type, ...fields, updatedAt: now() }
    },
    async remove(principal, id) {
      const type = await administered(sources, principal, id, 'share_type:delete')
      if (type.isDefault) {
        throw new DomainError(
          'invalid',
          'The default share type cannot be deleted: shares that name none have it.',
        )
      }
      if (!(await types.removeUnused(id))) {
        throw new DomainError(
          'invalid',
          `Share Type ${id} deletion is not allowed while shares or share group types are associated with the type.`,
        )
      }
    },
    async setExtraSpecs(principal, id, specs) {
      const type = await administered(sources, principal, id, 'share_types_extra_spec:create')
      const next = { ...type.extraSpecs, ...specs }
      requireSpecs(next)
      await types.update(id, { extraSpecs: next, updatedAt: now() })
    },
    async removeExtraSpec(principal, id, key) {
      const type = await administered(sources, principal, id, 'share_types_extra_spec:delete')
      if (!Object.hasOwn(type.extraSpecs, key)) {
        throw new DomainError('notFound', `Share Type ${id} has no extra specs with key ${key}.`)
      }
      if (key === 'driver_handles_share_servers') {
        throw new DomainError('forbidden', `Required extra spec ${key} can't be deleted.`)
      }
      const { [key]: _, ...rest } = type.extraSpecs
      requireSpecs(rest)
      await types.update(id, { extraSpecs: rest, updatedAt: now() })
    },
  }
}

async function defaultOf(types: ShareTypeRecords): Promise<ShareType> {
  const type = (await types.list()).find(({ isDefault }) => isDefault)
  if (type !== undefined) return type
  throw new DomainError(
    'notFound',
    'No default share type is configured. Either configure a default share type or explicitly specify a share type.',
  )
}

const isUsable = async (types: ShareTypeRecords, principal: Principal, type: ShareType): Promise<boolean> =>
  type.isPublic || isAdmin(principal) || (await types.projectsOf(type.id)).includes(principal.projectId ?? '')

async function found({ types }: Sources, principal: Principal, id: string): Promise<ShareType> {
  const type = await types.find(id)
  if (type === undefined || !(await isUsable(types, principal, type))) {
    throw new DomainError('notFound', `Share type ${id} could not be found.`)
  }
  return type
}

async function administered(
  sources: Sources,
  principal: Principal,
  id: string,
  policy: string,
): Promise<ShareType> {
  enforce(principal, policy, 'admin')
  return found(sources, principal, id)
}

const access = (sources: Sources): Pick<ShareTypes, 'projects' | 'addProject' | 'removeProject'> => ({
  async projects(principal, id) {
    const type = await administered(sources, principal, id, 'share_type:list_project_access')
    if (type.isPublic) {
      throw new DomainError('notFound', 'Access list not available for public share types.')
    }
    return sources.types.projectsOf(id)
  },
  async addProject(principal, id, projectId) {
    const type = await administered(sources, principal, id, 'share_type:add_project_access')
    if (type.isPublic) {
      throw new DomainError('conflict', 'Type access modification is not applicable to public share type.')
    }
    if ((await sources.types.projectsOf(id)).includes(projectId)) {
      throw new DomainError(
        'conflict',
        `Share type access for ${id} / ${projectId} combination already exists.`,
      )
    }
    await sources.types.allow(id, projectId)
  },
  async removeProject(principal, id, projectId) {
    const type = await administered(sources, principal, id, 'share_type:remove_project_access')
    if (type.isPublic) {
      throw new DomainError('conflict', 'Type access modification is not applicable to public share type.')
    }
    if (!(await sources.types.projectsOf(id)).includes(projectId)) {
      throw new DomainError('notFound', `Share type access not found for ${id} / ${projectId} combination.`)
    }
    await sources.types.disallow(id, projectId)
  },
})
