import { DomainError } from '@volant/contract'
import type { Flavor } from '../domain/flavor.ts'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import type { Clock } from '../ports/clock.ts'
import type { FlavorRecords } from '../ports/servers.ts'

export interface FlavorQuery {
  /** `none`: public ones and all others, for an administrator. */
  isPublic: boolean | 'none'
  minRamMib?: number
  minDiskGib?: number
  sort: { key: keyof Flavor; descending: boolean }
  limit: number
  marker?: string
}

export type NewFlavor = Omit<Flavor, 'id' | 'createdAt' | 'extraSpecs' | 'disabled'> & {
  /** Absent: one is chosen. */
  id?: string
}

export interface Flavors {
  show(principal: Principal, flavorId: string): Promise<Flavor>
  list(principal: Principal, query: FlavorQuery): Promise<{ flavors: Flavor[]; hasMore: boolean }>
  create(principal: Principal, flavor: NewFlavor): Promise<Flavor>
  describe(principal: Principal, flavorId: string, description: string | null): Promise<Flavor>
  remove(principal: Principal, flavorId: string): Promise<void>
  changeExtraSpecs(
    principal: Principal,
    flavorId: string,
    policy: 'create' | 'update' | 'delete',
    change: (specs: Record<string, string>) => Record<string, string>,
  ): Promise<Flavor>
  access(principal: Principal, flavorId: string): Promise<string[]>
  addAccess(principal: Principal, flavorId: string, projectId: string): Promise<string[]>
  removeAccess(principal: Principal, flavorId: string, projectId: string): Promise<string[]>
}

export function createFlavors({ flavors, clock }: { flavors: FlavorRecords; clock: Clock }): Flavors {
  const get = async (flavorId: string): Promise<Flavor> => {
    const flavor = await flavors.find(flavorId)
    if (flavor === undefined) throw new DomainError('notFound', `Flavor ${flavorId} could not be found.`)
    return flavor
  }
  const show: Flavors['show'] = async (principal, flavorId) => {
    const flavor = await get(flavorId)
    if (flavor.isPublic || isAdmin(principal)) return flavor
    const usable = await flavors.list({ projectId: principal.projectId })
    if (usable.some(({ id }) => id === flavorId)) return flavor
    throw new DomainError('notFound', `Flavor ${flavorId} could not be found.`)
  }
  const notPublic = async (flavorId: string): Promise<Flavor> => {
    const flavor = await get(flavorId)
    if (!flavor.isPublic) return flavor
    throw new DomainError('conflict', 'Access list not available for public flavors.')
  }

  return {
    show,
    async list(principal, query) {
      const admin = isAdmin(principal)
      const scope = admin && query.isPublic !== true ? {} : { projectId: principal.projectId }
      const all = (await flavors.list(scope)).filter(
        (flavor) =>
          (!admin || query.isPublic === 'none' || usable(flavor, query.isPublic)) &&
          flavor.memoryMib >= (query.minRamMib ?? 0) &&
          flavor.diskGib >= (query.minDiskGib ?? 0),
      )
      const sorted = all.toSorted((a, b) => compare(a, b, query.sort))
      const start = query.marker === undefined ? 0 : sorted.findIndex(({ id }) => id === query.marker) + 1
      if (query.marker !== undefined && start === 0) {
        throw new DomainError('invalid', `marker [${query.marker}] not found`)
      }
      const page = sorted.slice(start, start + query.limit)
      return { flavors: page, hasMore: start + page.length < sorted.length }
    },
    async create(principal, fields) {
      enforce(principal, 'os_compute_api:os-flavor-manage:create', 'admin')
      const flavor: Flavor = {
        ...fields,
        id: fields.id ?? crypto.randomUUID(),
        disabled: false,
        extraSpecs: {},
        createdAt: clock.now().toISOString(),
      }
      await flavors.create(flavor)
      return flavor
    },
    async describe(principal, flavorId, description) {
      enforce(principal, 'os_compute_api:os-flavor-manage:update', 'admin')
      await get(flavorId)
      await flavors.update(flavorId, { description })
      return get(flavorId)
    },
    async remove(principal, flavorId) {
      enforce(principal, 'os_compute_api:os-flavor-manage:delete', 'admin')
      await get(flavorId)
      await flavors.remove(flavorId)
    },
    async changeExtraSpecs(principal, flavorId, policy, change) {
      enforce(principal, `os_compute_api:os-flavor-extra-specs:${policy}`, 'admin')
      const flavor = await get(flavorId)
      await flavors.update(flavorId, { extraSpecs: change({ ...flavor.extraSpecs }) })
      return get(flavorId)
    },
    async access(principal, flavorId) {
      enforce(principal, 'os_compute_api:os-flavor-access', 'admin')
      const flavor = await get(flavorId)
      if (flavor.isPublic) {
        throw new DomainError('notFound', 'Access list not available for public flavors.')
      }
      return flavors.projectsOf(flavorId)
    },
    async addAccess(principal, flavorId, projectId) {
      enforce(principal, 'os_compute_api:os-flavor-access:add_tenant_access', 'admin')
      await notPublic(flavorId)
      if (!(await flavors.addAccess(flavorId, projectId))) {
        throw new DomainError(
          'conflict',
          `Flavor access already exists for flavor ${flavorId} and project ${projectId} combination.`,
        )
      }
      return flavors.projectsOf(flavorId)
    },
    async removeAccess(principal, flavorId, projectId) {
      enforce(principal, 'os_compute_api:os-flavor-access:remove_tenant_access', 'admin')
      await notPublic(flavorId)
      if (!(await flavors.removeAccess(flavorId, projectId))) {
        throw new DomainError(
          'notFound',
          `Flavor access not found for ${flavorId} / ${projectId} combination.`,
        )
      }
      return flavors.projectsOf(flavorId)
    },
  }
}

const usable = (flavor: Flavor, isPublic: boolean): boolean => flavor.isPublic === isPublic

function compare(a: Flavor, b: Flavor, sort: FlavorQuery['sort']): number {
  const order = String(a[sort.key] ?? '').localeCompare(String(b[sort.key] ?? ''), 'en', { numeric: true })
  return sort.descending ? -order : order
}
