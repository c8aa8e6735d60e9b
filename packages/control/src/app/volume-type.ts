import { randomUUID } from 'node:crypto'
import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import { defaultTypeName, type VolumeType } from '../domain/volume-type.ts'
import type { VolumeTypeRecords } from '../ports/block-storage.ts'
import type { Clock } from '../ports/clock.ts'

export interface VolumeTypes {
  /** The type of that id or name, for a new volume. Throws `notFound` with Cinder's text. */
  usable(principal: Principal, idOrName: string): Promise<VolumeType>
  show(principal: Principal, id: string): Promise<VolumeType>
  default(principal: Principal): Promise<VolumeType>
  /** Those the principal may use; all for an administrator. Absent `isPublic`: either. */
  list(
    principal: Principal,
    filter: { isPublic?: boolean; extraSpecs?: Record<string, string>; name?: string },
  ): Promise<VolumeType[]>
  create(
    principal: Principal,
    fields: Pick<VolumeType, 'name' | 'description' | 'isPublic' | 'extraSpecs'>,
  ): Promise<VolumeType>
  update(
    principal: Principal,
    id: string,
    fields: Partial<Pick<VolumeType, 'name' | 'description' | 'isPublic'>>,
  ): Promise<VolumeType>
  remove(principal: Principal, id: string): Promise<void>
  setExtraSpecs(principal: Principal, id: string, specs: Record<string, string>): Promise<void>
  removeExtraSpec(principal: Principal, id: string, key: string): Promise<void>
  /** Of a type that is not public. */
  projects(principal: Principal, id: string): Promise<string[]>
  addProject(principal: Principal, id: string, projectId: string): Promise<void>
  removeProject(principal: Principal, id: string, projectId: string): Promise<void>
}

const typeNotFound = (id: string): DomainError =>
  new DomainError('notFound', `Volume type ${id} could not be found.`)

interface Sources {
  types: VolumeTypeRecords
  clock: Clock
}

/** Everything of volume types: reading them is a project's, changing them an administrator's. */
export const createVolumeTypes = (sources: Sources): VolumeTypes => ({
  ...reading(sources),
  ...changing(sources),
  ...access(sources),
})

async function mayUse(types: VolumeTypeRecords, principal: Principal, type: VolumeType): Promise<boolean> {
  if (type.isPublic || isAdmin(principal)) return true
  return principal.projectId !== null && (await types.accessibleTo(principal.projectId)).includes(type.id)
}

async function shown({ types }: Sources, principal: Principal, id: string): Promise<VolumeType> {
  const type = await types.find(id)
  if (type === undefined || !(await mayUse(types, principal, type))) throw typeNotFound(id)
  return type
}

async function administered(
  sources: Sources,
  principal: Principal,
  id: string,
  policy: string,
): Promise<VolumeType> {
  enforce(principal, `volume_extension:${policy}`, 'admin')
  return shown(sources, principal, id)
}

const reading = (sources: Sources): Pick<VolumeTypes, 'show' | 'usable' | 'default' | 'list'> => ({
  show: (principal, id) => shown(sources, principal, id),
  async usable(principal, idOrName) {
    const { types } = sources
    const type = (await types.find(idOrName)) ?? (await types.findByName(idOrName))
    if (type === undefined || !(await mayUse(types, principal, type))) throw typeNotFound(idOrName)
    return type
  },
  async default() {
    const type = await sources.types.findByName(defaultTypeName)
    if (type === undefined) throw typeNotFound(defaultTypeName)
    return type
  },
  list: (principal, filter) => listTypes(sources.types, principal, filter),
})

type Changing = 'create' | 'update' | 'remove' | 'setExtraSpecs' | 'removeExtraSpec'

function changing(sources: Sources): Pick<VolumeTypes, Changing> {
  const { types, clock } = sources
  const now = (): string => clock.now().toISOString()
  return {
    async create(principal, fields) {
      enforce(principal, 'volume_extension:type_create', 'admin')
      const type = { ...fields, id: randomUUID(), createdAt: now(), updatedAt: null }
      await types.create(type)
      return type
    },
    async update(principal, id, fields) {
      const type = await administered(sources, principal, id, 'type_update')
      const { name } = fields
      if (name !== undefined && name !== type.name) await requireFreeName(types, type, name)
      await types.update(id, { ...fields, updatedAt: now() })
      return shown(sources, principal, id)
    },
    async remove(principal, id) {
      const type = await administered(sources, principal, id, 'type_delete')
      if (type.name === defaultTypeName) {
        throw new DomainError(
          'invalid',
          `The volume type ${type.id} is the default volume type and cannot be deleted.`,
        )
      }
      if (!(await types.removeUnused(id))) {
        throw new DomainError('invalid', 'Target volume type is still in use.')
      }
    },
    async setExtraSpecs(principal, id, specs) {
      const type = await administered(sources, principal, id, 'types_extra_specs:create')
      await types.update(id, { extraSpecs: { ...type.extraSpecs, ...specs }, updatedAt: now() })
    },
    async removeExtraSpec(principal, id, key) {
      const type = await administered(sources, principal, id, 'types_extra_specs:delete')
      if (!Object.hasOwn(type.extraSpecs, key)) {
        throw new DomainError('notFound', `Volume Type ${id} has no extra specs with key ${key}.`)
      }
      const { [key]: _, ...rest } = type.extraSpecs
      await types.update(id, { extraSpecs: rest, updatedAt: now() })
    },
  }
}

const access = (sources: Sources): Pick<VolumeTypes, 'projects' | 'addProject' | 'removeProject'> => ({
  async projects(principal, id) {
    const type = await administered(sources, principal, id, 'volume_type_access:get_all_for_type')
    if (type.isPublic) {
      throw new DomainError('notFound', 'Access list not available for public volume types.')
    }
    return sources.types.projectsOf(id)
  },
  async addProject(principal, id, projectId) {
    const type = await administered(sources, principal, id, 'volume_type_access:addProjectAccess')
    if (type.isPublic) {
      throw new DomainError('invalid', 'Type access modification is not applicable to public volume type.')
    }
    if (!(await sources.types.addAccess(id, projectId))) {
      throw new DomainError(
        'conflict',
        `Volume type access for ${id} / ${projectId} combination already exists.`,
      )
    }
  },
  async removeProject(principal, id, projectId) {
    await administered(sources, principal, id, 'volume_type_access:removeProjectAccess')
    if (!(await sources.types.removeAccess(id, projectId))) {
      throw new DomainError('notFound', `Volume type access not found for ${id} / ${projectId} combination.`)
    }
  },
})

async function requireFreeName(types: VolumeTypeRecords, type: VolumeType, name: string): Promise<void> {
  if (type.name === defaultTypeName) {
    throw new DomainError(
      'invalid',
      `The default volume type cannot be renamed: volumes without a type have it.`,
    )
  }
  const other = await types.findByName(name)
  if (other !== undefined) {
    throw new DomainError('conflict', `Volume Type ${name} already exists.`)
  }
}

async function listTypes(
  types: VolumeTypeRecords,
  principal: Principal,
  filter: Parameters<VolumeTypes['list']>[1],
): Promise<VolumeType[]> {
  enforce(principal, 'volume_extension:type_get_all', 'reader')
  const all = await types.list()
  const own =
    isAdmin(principal) || principal.projectId === null
      ? new Set<string>()
      : new Set(await types.accessibleTo(principal.projectId))
  const matches = (type: VolumeType): boolean =>
    (isAdmin(principal)
      ? filter.isPublic === undefined || type.isPublic === filter.isPublic
      : type.isPublic || own.has(type.id)) &&
    (filter.name === undefined || type.name === filter.name) &&
    Object.entries(filter.extraSpecs ?? {}).every(([key, value]) => type.extraSpecs[key] === value)
  return all.filter(matches)
}
