/** Times are UTC in ISO 8601 with milliseconds and `Z`; booleans are 0 or 1. */
export interface VolumeTypeTable {
  id: string
  name: string
  description: string | null
  is_public: number
  /** JSON object of texts. */
  extra_specs: string
  created_at: string
  updated_at: string | null
}

/** Projects that may use a type that is not public. */
export interface VolumeTypeAccessTable {
  volume_type_id: string
  project_id: string
}

/** A limit of one project; -1 is unlimited. Without a row the class `default` decides, then Volant's default. */
export interface BlockQuotaTable {
  project_id: string
  resource: string
  hard_limit: number
}

export interface BlockQuotaClassTable {
  class_name: string
  resource: string
  hard_limit: number
}

/** Gigabytes that a volume being extended will take; they count as used from the request on. */
export interface BlockQuotaReservationTable {
  volume_id: string
  project_id: string
  gigabytes: number
}

/** Kept by triggers: what users see of a project's volumes or snapshots. */
export interface BlockUsageTable {
  project_id: string
  kind: 'volume' | 'snapshot'
  count: number
  size_gib: number
}

export interface BlockServiceTable {
  id: string
  binary: string
  host: string
  disabled: number
  disabled_reason: string | null
  frozen: number
  updated_at: string
}

export interface VolumeMessageTable {
  id: string
  project_id: string
  request_id: string
  /** Of a message about a snapshot its id. */
  volume_id: string
  level: string
  event_id: string
  text: string
  created_at: string
  expires_at: string
}

export interface BlockStorageTables {
  volume_types: VolumeTypeTable
  volume_type_access: VolumeTypeAccessTable
  block_quotas: BlockQuotaTable
  block_quota_classes: BlockQuotaClassTable
  block_quota_reservations: BlockQuotaReservationTable
  block_usage: BlockUsageTable
  block_services: BlockServiceTable
  volume_messages: VolumeMessageTable
}
