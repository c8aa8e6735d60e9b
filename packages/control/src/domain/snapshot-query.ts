import type { SnapshotStatus } from './snapshot.ts'

/** What a list of snapshots can be sorted by. */
export const snapshotSortKeys = [
  'created_at',
  'updated_at',
  'id',
  'name',
  'status',
  'size',
  'volume_id',
] as const
export type SnapshotSortKey = (typeof snapshotSortKeys)[number]

/** What to list. All conditions must hold; absent: any. */
export interface SnapshotFilter {
  /** Absent: all projects'. */
  projectId?: string
  ids?: string[]
  names?: string[]
  /** `name~`: part of the name. */
  nameContains?: string
  descriptionContains?: string
  statuses?: (SnapshotStatus | string)[]
  statusContains?: string
  volumeIds?: string[]
  userIds?: string[]
  sizes?: number[]
  /** Of the volumes. */
  availabilityZones?: string[]
  /** All of these must be among the snapshot's. */
  metadata?: Record<string, string>
}

export interface SnapshotPageRequest {
  filter: SnapshotFilter
  sort: { key: SnapshotSortKey; direction: 'asc' | 'desc' }[]
  limit: number
  offset: number
  /** The last snapshot of the page before. */
  marker?: string
}
