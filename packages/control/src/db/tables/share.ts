import type { Generated } from 'kysely'

/** Times, JSON and booleans as in `tables/storage.ts`. */
export interface ShareTable {
  id: string
  project_id: string
  user_id: string
  name: string | null
  description: string | null
  size_gib: number
  /** As Manila's: creating, available, extending, migrating, reverting, deleting, error… */
  status: string
  /** As Manila's, of the latest migration. */
  task_state: string | null
  share_type_id: string
  is_public: number
  /** As the type said when it was made. */
  snapshot_support: number
  create_share_from_snapshot_support: number
  revert_to_snapshot_support: number
  mount_snapshot_support: number
  root_squash: number
  source_snapshot_id: string | null
  /** Where it was placed; its aggregate is its FlexVol's. */
  cluster: string
  /** Null until it was placed. */
  flexvol_id: string | null
  /** The volume that is its content. */
  volume_id: string | null
  /** 1 to 65535, unique in its cluster. */
  export_id: number | null
  /** active, syncing, error. */
  access_rules_status: string
  /** JSON of `ShareMigration`: what was asked of the latest migration. */
  migration: string | null
  /** What a growth under way adds: counted as used while the share is extending. */
  growth_gib: Generated<number>
  metadata: string
  availability_zone: string
  created_at: string
  updated_at: string | null
}

export interface ShareAccessRuleTable {
  id: string
  share_id: string
  /** ip. */
  access_type: string
  /** In canonical form. */
  access_to: string
  /** rw, ro. */
  access_level: string
  /** queued_to_apply, applying, active, error, queued_to_deny, denying. */
  state: string
  metadata: string
  created_at: string
  updated_at: string | null
}

/** Who may mount a snapshot of a share, to read. */
export interface SnapshotAccessRuleTable {
  id: string
  snapshot_id: string
  /** ip. */
  access_type: string
  /** In canonical form. */
  access_to: string
  /** As those of a share's rules. */
  state: string
  created_at: string
  updated_at: string | null
}

/** A snapshot that has rules: it is served from a clone of its image. */
export interface ShownSnapshotTable {
  snapshot_id: string
  share_id: string
  cluster: string
  /** The clone: a volume of the share's FlexVol, whose attachment has the snapshot's id as `share_id`. */
  volume_id: string
  /** 1 to 65535, unique in its cluster, together with those of shares. */
  export_id: number
  created_at: string
}

export interface ShareTypeTable {
  id: string
  name: string
  description: string | null
  is_public: number
  is_default: number
  /** JSON, texts only. */
  extra_specs: string
  created_at: string
  updated_at: string | null
}

export interface ShareTypeAccessTable {
  share_type_id: string
  project_id: string
}

export interface ShareQuotaTable {
  /** `default` is for all that have none of their own. */
  project_id: string
  /** Empty: the whole project's; `user/ID` or `share_type/ID`: of those alone, within it. */
  scope: string
  resource: string
  /** -1: unlimited. */
  limit: number
}

export interface ShareMessageTable {
  id: string
  project_id: string
  request_id: string | null
  resource_type: string
  resource_id: string | null
  action_id: string
  detail_id: string
  user_message: string
  created_at: string
  expires_at: string
}

export interface ShareServiceTable {
  backend: string
  disabled: number
  disabled_reason: string | null
  updated_at: string | null
}

export interface ShareTables {
  shares: ShareTable
  share_access_rules: ShareAccessRuleTable
  snapshot_access_rules: SnapshotAccessRuleTable
  shown_snapshots: ShownSnapshotTable
  share_types: ShareTypeTable
  share_type_access: ShareTypeAccessTable
  share_quotas: ShareQuotaTable
  share_messages: ShareMessageTable
  share_services: ShareServiceTable
}
