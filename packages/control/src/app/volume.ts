import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { VolumeFilter, VolumePageRequest } from '../domain/volume-query.ts'
import type { VolumeLists, VolumeMark } from '../ports/block-storage.ts'
import type { VolumeRecords } from '../ports/records.ts'
import { changeableVolume, invalidInput, visibleVolume } from './volume-access.ts'
import { gatherVolumeFacts, type VolumeFacts, type VolumeFactsSources } from './volume-facts.ts'

/** What metadata a volume can have. */
export const metadataLimit = 128

/** Reading volumes, and changing what is only described by them. */
export interface Volumes {
  /** Throws `notFound` with Cinder's text, also for another project's. */
  show(principal: Principal, volumeId: string): Promise<VolumeFacts>
  /** The filter's project is the caller's to choose: see `isAdmin`. */
  list(principal: Principal, request: VolumePageRequest): Promise<VolumeFacts[]>
  /**
   * What tells whether a page is as it was, without reading it: its volumes' marks, and an object that stays the same
   * one while what they refer to does. Undefined for lists that are rarely asked for.
   */
  marks(
    principal: Principal,
    request: VolumePageRequest,
  ): Promise<{ marks: VolumeMark[]; referred: object } | undefined>
  /** Of a page that the principal was given; those that are there, in any order. */
  factsOf(ids: readonly string[]): Promise<VolumeFacts[]>
  count(principal: Principal, filter: VolumeFilter): Promise<number>
  summary(
    principal: Principal,
    filter: VolumeFilter,
  ): Promise<{ count: number; sizeGib: number; metadata: Record<string, string[]> }>
  update(
    principal: Principal,
    volumeId: string,
    fields: { name?: string | null; description?: string | null; metadata?: Record<string, string> },
  ): Promise<VolumeFacts>
  /** Adds to the metadata, or replaces it whole. */
  setMetadata(
    principal: Principal,
    volumeId: string,
    metadata: Record<string, string>,
    how: 'merge' | 'replace',
  ): Promise<Record<string, string>>
  removeMetadata(principal: Principal, volumeId: string, key: string): Promise<boolean>
  /** The metadata that came with the image. */
  setImageMetadata(
    principal: Principal,
    volumeId: string,
    change: { set?: Record<string, string>; unset?: string },
  ): Promise<{ metadata: Record<string, string>; found: boolean }>
}

export interface VolumesSources extends VolumeFactsSources {
  volumes: VolumeRecords
  lists: VolumeLists
}

export const requireFewPairs = (metadata: Record<string, string>, what = 'a volume'): void => {
  if (Object.keys(metadata).length > metadataLimit) {
    throw invalidInput(`${what} can have ${metadataLimit} metadata items at most.`)
  }
}

export function createVolumes(sources: VolumesSources): Volumes {
  const { volumes, lists } = sources
  const show: Volumes['show'] = async (principal, volumeId) => {
    const volume = await visibleVolume(volumes, principal, volumeId)
    enforce(principal, 'volume:get', 'reader', volume.projectId)
    const [facts] = await gatherVolumeFacts(sources, [volume])
    return facts as VolumeFacts
  }
  return {
    show,
    async list(principal, request) {
      enforce(principal, 'volume:get_all', 'reader')
      return gatherVolumeFacts(sources, await lists.page(request))
    },
    async marks(principal, request) {
      enforce(principal, 'volume:get_all', 'reader')
      // Before the marks, and both before what is made of them, which is then at least as new.
      const referred = await lists.referred()
      const marks = await lists.marks(request)
      return marks === undefined ? undefined : { marks, referred }
    },
    factsOf: async (ids) => gatherVolumeFacts(sources, await lists.byIds(ids)),
    async count(principal, filter) {
      enforce(principal, 'volume:get_all', 'reader')
      return lists.count(filter)
    },
    async summary(principal, filter) {
      enforce(principal, 'volume:get_all', 'reader')
      return { ...(await lists.summary(filter)), metadata: await lists.metadataValues(filter) }
    },
    async update(principal, volumeId, fields) {
      await changeableVolume(volumes, principal, volumeId, 'volume:update')
      if (fields.metadata !== undefined) requireFewPairs(fields.metadata)
      await volumes.update(volumeId, fields)
      return show(principal, volumeId)
    },
    async setMetadata(principal, volumeId, metadata, how) {
      const volume = await changeableVolume(volumes, principal, volumeId, 'volume:update_volume_metadata')
      const next = how === 'replace' ? metadata : { ...volume.metadata, ...metadata }
      requireFewPairs(next)
      await volumes.update(volumeId, { metadata: next })
      return next
    },
    async removeMetadata(principal, volumeId, key) {
      const volume = await changeableVolume(volumes, principal, volumeId, 'volume:delete_volume_metadata')
      if (!Object.hasOwn(volume.metadata, key)) return false
      const { [key]: _, ...rest } = volume.metadata
      await volumes.update(volumeId, { metadata: rest })
      return true
    },
    async setImageMetadata(principal, volumeId, { set, unset }) {
      const policy = 'volume_extension:volume_image_metadata'
      const volume = await changeableVolume(volumes, principal, volumeId, policy)
      const found = unset === undefined || Object.hasOwn(volume.imageMetadata, unset)
      const next = { ...volume.imageMetadata, ...set }
      if (unset !== undefined) delete next[unset]
      requireFewPairs(next)
      if (found) await volumes.update(volumeId, { imageMetadata: next })
      return { metadata: next, found }
    },
  }
}
