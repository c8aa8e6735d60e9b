/** What a list of volumes can be sorted by; Cinder's keys. */
export const volumeSortKeys = [
  'created_at',
  'updated_at',
  'id',
  'name',
  'size',
  'status',
  'bootable',
  'availability_zone',
  'migration_status',
  'host',
] as const
export type VolumeSortKey = (typeof volumeSortKeys)[number]

export interface VolumeSort {
  key: VolumeSortKey
  direction: 'asc' | 'desc'
}

/** Comparisons of times (`created_at=gt:…`, microversion 3.60). */
export interface TimeComparison {
  operator: '=' | '!=' | '<' | '<=' | '>' | '>='
  /** ISO 8601 with milliseconds and `Z`, as in the database. */
  time: string
}

/** What to list. All conditions must hold; absent: any. */
export interface VolumeFilter {
  /** Servers' root disks, too, which are hidden: for the upkeep alone. */
  withRootDisks?: boolean
  /** Absent: all projects'. */
  projectId?: string
  ids?: string[]
  names?: string[]
  /** `name~`: part of the name. */
  nameContains?: string
  descriptionContains?: string
  descriptions?: string[]
  statuses?: string[]
  statusContains?: string
  sizes?: number[]
  /** null: none. */
  migrationStatuses?: (string | null)[]
  bootable?: boolean
  multiattach?: boolean
  availabilityZones?: string[]
  volumeTypeIds?: string[]
  userIds?: string[]
  sourceVolids?: string[]
  snapshotIds?: string[]
  /** FlexVols of the pools that a `host` names. */
  flexvolIds?: string[]
  /** All of these must be among the volume's. */
  metadata?: Record<string, string>
  imageMetadata?: Record<string, string>
  createdAt?: TimeComparison[]
  updatedAt?: TimeComparison[]
}

export interface VolumePageRequest {
  filter: VolumeFilter
  sort: VolumeSort[]
  limit: number
  offset: number
  /** The last volume of the page before. */
  marker?: string
}
