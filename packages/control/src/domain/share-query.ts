/** What a list of shares can be sorted by; Manila's keys. */
export const shareSortKeys = [
  'created_at',
  'updated_at',
  'id',
  'name',
  'size',
  'status',
  'host',
  'share_proto',
  'availability_zone',
  'user_id',
  'project_id',
  'share_type_id',
  'snapshot_id',
] as const
export type ShareSortKey = (typeof shareSortKeys)[number]

/** What to list. All conditions must hold; absent: any. */
export interface ShareFilter {
  /** Absent: all projects'. */
  projectId?: string
  /** With `projectId`: public shares of other projects too. */
  withPublic?: boolean
  isPublic?: boolean
  ids?: string[]
  name?: string
  nameContains?: string
  description?: string
  descriptionContains?: string
  status?: string
  shareTypeIds?: string[]
  snapshotId?: string
  userId?: string
  availabilityZone?: string
  cluster?: string
  flexvolIds?: string[]
  /** All of these must be among the share's. */
  metadata?: Record<string, string>
  /** Nothing is in the list. */
  none?: boolean
}

export interface SharePageRequest {
  filter: ShareFilter
  sort: { key: ShareSortKey; direction: 'asc' | 'desc' }[]
  limit: number
  offset: number
  /** The last share of the page before. */
  marker?: string
}

export const shareSnapshotSortKeys = [
  'created_at',
  'updated_at',
  'id',
  'name',
  'status',
  'size',
  'share_id',
  'user_id',
  'project_id',
] as const
export type ShareSnapshotSortKey = (typeof shareSnapshotSortKeys)[number]

export interface ShareSnapshotFilter {
  /** Absent: all projects'. */
  projectId?: string
  id?: string
  name?: string
  nameContains?: string
  description?: string
  descriptionContains?: string
  status?: string
  shareId?: string
  size?: number
  userId?: string
  metadata?: Record<string, string>
  none?: boolean
}

export interface ShareSnapshotPageRequest {
  filter: ShareSnapshotFilter
  sort: { key: ShareSnapshotSortKey; direction: 'asc' | 'desc' }[]
  limit: number
  offset: number
  marker?: string
}
