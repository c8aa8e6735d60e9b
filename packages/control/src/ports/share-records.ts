import type { ShareMessage } from '../domain/share-message.ts'
import type {
  ShareFilter,
  SharePageRequest,
  ShareSnapshotFilter,
  ShareSnapshotPageRequest,
} from '../domain/share-query.ts'
import type { ShareQuotaLimits, ShareQuotaScope, ShareQuotaUsage } from '../domain/share-quota.ts'
import type { Share } from '../domain/share.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import type { AggregatePlace } from '../domain/volume.ts'

/** Lists of shares and of their snapshots. A page starts at its marker's key, so it costs the same however many there are. */
export interface ShareLists {
  /** At most `limit`. Throws `notFound` for an unknown marker. */
  page(request: SharePageRequest): Promise<Share[]>
  count(filter: ShareFilter): Promise<number>
  snapshotPage(request: ShareSnapshotPageRequest): Promise<Snapshot[]>
  snapshotCount(filter: ShareSnapshotFilter): Promise<number>
  /** Snapshots of the share, of whatever status. */
  countSnapshots(shareId: string): Promise<number>
  /** The newest one. */
  latestSnapshot(shareId: string): Promise<Snapshot | undefined>
  /** Shares that are being made of the snapshot. */
  usersOf(snapshotId: string): Promise<string[]>
  /** Where these shares are, by their ids; those that were not placed yet are left out. */
  placesOf(shareIds: readonly string[]): Promise<Map<string, { cluster: string } & AggregatePlace>>
  /** Sums of the sizes of shares on each aggregate, by `placeKey`. GiB. */
  allocatedByAggregate(): Promise<Map<string, number>>
}

/** Limits, what is used of them, and the changes that must fit them: counted and made in one transaction. */
export interface ShareQuotaRecords {
  /** Those of the scope, of its project and of the default, the narrowest first. */
  limits(scope: ShareQuotaScope): Promise<ShareQuotaLimits>
  defaults(): Promise<ShareQuotaLimits>
  setLimits(scope: ShareQuotaScope, limits: Partial<ShareQuotaLimits>): Promise<void>
  setDefaults(limits: Partial<ShareQuotaLimits>): Promise<void>
  /** Of a whole project: those of its users and types too. */
  clearLimits(scope: ShareQuotaScope): Promise<void>
  usage(scope: ShareQuotaScope): Promise<ShareQuotaUsage>
  /** Inserts the share, or throws `overQuota`; `invalid` where its snapshot is not `available` any more. */
  createShare(share: Share): Promise<void>
  /**
   * Inserts the snapshot, or throws `overQuota`. False, and nothing is changed, where its share is not `available` (any
   * more).
   */
  createSnapshot(snapshot: Snapshot): Promise<boolean>
  /**
   * Sets the share to `extending` and counts its growth as used; throws `overQuota`, and `conflict` while a snapshot of it
   * is being made. False where the share has another status or size by now.
   */
  beginExtend(share: Share, newSizeGib: number): Promise<boolean>
  /** Throws `overQuota` where the limits of that type have no room for the share. */
  requireRoomFor(share: Share, shareTypeId: string): Promise<void>
}

export interface ShareMessageRecords {
  /** Writes or rewrites the message of that id. */
  put(message: ShareMessage): Promise<void>
  find(id: string): Promise<ShareMessage | undefined>
  /** Newest first. Absent: any. */
  list(options: {
    projectId?: string
    resourceType?: string
    resourceId?: string
    actionId?: string
    detailId?: string
    requestId?: string
    createdSince?: string
    createdBefore?: string
    limit: number
    offset: number
    now: string
  }): Promise<ShareMessage[]>
  remove(id: string): Promise<void>
  removeExpired(now: string): Promise<void>
}

/** What an operator has said of a backend's share service. */
export interface ShareServiceState {
  backend: string
  disabled: boolean
  disabledReason: string | null
  updatedAt: string | null
}

export interface ShareServiceRecords {
  /** Only backends that were ever disabled or enabled. */
  list(): Promise<ShareServiceState[]>
  put(state: ShareServiceState): Promise<void>
}
