import type { BlockService } from '../domain/block-service.ts'
import type { PoolCandidate } from '../domain/placement.ts'
import type { QuotaLimits, QuotaUsage } from '../domain/quota.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import type { VolumeMessage } from '../domain/volume-message.ts'
import type { VolumeFilter, VolumePageRequest } from '../domain/volume-query.ts'
import type { VolumeType } from '../domain/volume-type.ts'
import type { Attachment, Copy, FlexVol, Volume, VolumeStatus } from '../domain/volume.ts'

/** Lists of volumes. A page costs the same however many volumes there are: it starts at its marker's key. */
export interface VolumeLists {
  /** At most `limit`. Throws `notFound` for an unknown marker. */
  page(request: VolumePageRequest): Promise<Volume[]>
  count(filter: VolumeFilter): Promise<number>
  /** Number and total size. */
  summary(filter: VolumeFilter): Promise<{ count: number; sizeGib: number }>
  /** Metadata of all matching volumes: for each key its distinct values. */
  metadataValues(filter: VolumeFilter): Promise<Record<string, string[]>>
  /**
   * The ids of a page, each with its volume's mark; undefined for lists that are rarely asked for. Throws as `page`.
   * What is read of a volume after its mark is at least as new as the mark.
   */
  marks(request: VolumePageRequest): Promise<VolumeMark[] | undefined>
  /** Those that are there, in any order. */
  byIds(ids: readonly string[]): Promise<Volume[]>
  /**
   * What volumes that users see refer to, as it is now. To be read only: it is kept, the same object, for as long as
   * it says the same.
   */
  referred(): Promise<{
    /** By their ids. */
    flexvols: ReadonlyMap<string, FlexVol>
    types: ReadonlyMap<string, VolumeType>
    services: readonly BlockService[]
  }>
  /** The attachments of all the volumes of a page. */
  attachmentsOf(volumeIds: readonly string[]): Promise<Attachment[]>
  attachmentPage(request: AttachmentPageRequest): Promise<Attachment[]>
  /** Root disks that are attached to no server, and not being made or deleted: their server is gone, or never came. */
  leftRootDisks(): Promise<Volume[]>
}

/** The mark is another one after each change of the volume's row or of its attachments. */
export interface VolumeMark {
  id: string
  mark: string
}

export interface AttachmentPageRequest {
  /** Absent: all projects'. */
  projectId?: string
  volumeId?: string
  serverId?: string
  statuses?: string[]
  limit: number
  offset: number
  marker?: string
}

/** The beginning of a volume's life; each method is one transaction. */
export interface VolumeCreation {
  /** The copy that will be the volume's first truth; idempotent. */
  begin(copy: Copy, status: 'creating' | 'downloading'): Promise<void>
  /** The copy is whole: it becomes the truth, and the volume `available`. Clears the message of `messageId`. */
  complete(birth: {
    volumeId: string
    imageId: string
    flexvolId: string
    bootable: boolean
    imageMetadata: Record<string, string>
    messageId: string
    at: string
  }): Promise<void>
  /** The copy is gone: the volume is in `error`. */
  abandon(volumeId: string, imageId: string, at: string): Promise<void>
}

/**
 * The beginning of a volume's end, with its snapshots if that is wished; each method is one transaction, so that no
 * snapshot is made of a volume that goes, and a crash never leaves one without the other.
 */
export interface DeletionClaims {
  /** Volume and snapshots become `deleting`; nothing is changed where the answer is another than `claimed`. */
  claim(
    volume: Pick<Volume, 'id' | 'status'>,
    options: { cascade: boolean },
  ): Promise<
    | { outcome: 'claimed'; snapshots: Pick<Snapshot, 'id' | 'status'>[] }
    /** The volume has another status by now, or is being migrated. */
    | { outcome: 'changed' }
    /** It has snapshots, and they are not to go with it. */
    | { outcome: 'has-snapshots'; count: number }
    /** A snapshot is in no status for it, or a volume is being made of it. */
    | { outcome: 'snapshot-busy'; snapshotId: string; reason: string }
  >
  /** Takes the claim back. */
  release(
    volume: Pick<Volume, 'id' | 'status'>,
    snapshots: readonly Pick<Snapshot, 'id' | 'status'>[],
  ): Promise<void>
}

export interface VolumeTypeRecords {
  /** Makes the default type where it is not there. */
  ensureDefault(now: string): Promise<void>
  find(id: string): Promise<VolumeType | undefined>
  findByName(name: string): Promise<VolumeType | undefined>
  findMany(ids: readonly string[]): Promise<VolumeType[]>
  /** Newest first. There are few. */
  list(): Promise<VolumeType[]>
  /** Throws `conflict` for a name that is taken. */
  create(type: VolumeType): Promise<void>
  update(id: string, fields: Partial<Omit<VolumeType, 'id' | 'createdAt'>>): Promise<void>
  /** Removes the type unless a volume has it; tells whether it did. */
  removeUnused(id: string): Promise<boolean>
  projectsOf(id: string): Promise<string[]>
  /** Types that are not public, and that the project may use all the same. */
  accessibleTo(projectId: string): Promise<string[]>
  /** Tells whether it was new. */
  addAccess(id: string, projectId: string): Promise<boolean>
  removeAccess(id: string, projectId: string): Promise<boolean>
}

/** Limits, what is used of them, and the changes that must fit them: counted and made in one transaction. */
export interface BlockQuotaRecords {
  limits(projectId: string): Promise<QuotaLimits>
  /** The class's limits; only `default` has an effect. */
  classLimits(className: string): Promise<QuotaLimits>
  setLimits(projectId: string, limits: Partial<QuotaLimits>): Promise<void>
  setClassLimits(className: string, limits: Partial<QuotaLimits>): Promise<void>
  clearLimits(projectId: string): Promise<void>
  usage(projectId: string): Promise<QuotaUsage>
  /** Inserts the volume, or throws `overQuota`; `invalid` where its snapshot is not `available` any more. */
  createVolume(volume: Volume): Promise<void>
  /**
   * Inserts the snapshot, or throws `overQuota`. False, and nothing is changed, where its volume has none of the statuses
   * (any more), or is being migrated.
   */
  createSnapshot(snapshot: Snapshot, statuses: readonly VolumeStatus[]): Promise<boolean>
  /**
   * Sets the volume to `extending` and counts its growth as used; throws `overQuota`. False where the volume has
   * another status or size by now.
   */
  beginExtend(volume: Volume, newSizeGib: number): Promise<boolean>
  /** The end of an extension, well or not: status, size of volume and copy, and reservation, together. */
  finishExtend(volumeId: string, end: { sizeGib?: number; status: VolumeStatus; at: string }): Promise<void>
}

export interface BlockServiceRecords {
  list(): Promise<BlockService[]>
  /** Makes the row where there is none for its binary and host; what is there stays. */
  ensure(service: BlockService): Promise<void>
  update(
    id: string,
    fields: Partial<Pick<BlockService, 'disabled' | 'disabledReason' | 'frozen' | 'updatedAt'>>,
  ): Promise<void>
}

export interface VolumeMessageRecords {
  /** Writes or rewrites the message of that id. */
  put(message: VolumeMessage): Promise<void>
  find(id: string): Promise<VolumeMessage | undefined>
  /** Newest first. Absent project: all. */
  list(options: { projectId?: string; limit: number; offset: number; now: string }): Promise<VolumeMessage[]>
  remove(id: string): Promise<void>
  removeExpired(now: string): Promise<void>
}

/** Sums over the copies in each FlexVol, by its id. */
export interface PoolSums {
  byFlexvol(): Promise<Map<string, { provisionedBytes: number; reservedBytes: number; copies: number }>>
}

/** The scheduler's view of the pools, in the configuration's order. */
export interface Pools {
  candidates(): Promise<(PoolCandidate & { flexvol: FlexVol })[]>
  /** The same, with figures of space that may be some seconds old: quick however many volumes there are. */
  recentCandidates(): Promise<(PoolCandidate & { flexvol: FlexVol })[]>
}
