import type { Generated } from 'kysely'

/** Times are UTC in ISO 8601 with milliseconds and `Z`; JSON columns hold text; booleans are 0 or 1. */
export interface ServerTable {
  id: string
  /** Rises with each server; shown as `instance-0000002a`. */
  number: number
  project_id: string
  user_id: string
  name: string
  description: string | null
  hostname: string
  /** building, active, paused, stopped, error, deleted. */
  vm_state: string
  /** What is under way: scheduling, spawning, powering-off, deleting, …; null: nothing. */
  task_state: string | null
  /** As the API shows it: 0 no state, 1 running, 3 paused, 4 shutdown, 6 crashed. */
  power_state: number
  /** Why the server is in error, or its guest paused or gone: JSON {code, message, details, created}. */
  fault: string | null
  /** The compute host; null until the scheduler has chosen. */
  host: string | null
  /** The one that it was made in by name; empty: none. */
  availability_zone: string
  flavor_id: string
  /** JSON: the flavor as it was when the server was made. */
  flavor: string
  vcpus: number
  memory_mib: number
  disk_gib: number
  /** Null: it boots from a volume. */
  image_id: string | null
  kernel_id: string | null
  ramdisk_id: string | null
  /** JSON: {commandLine, diskFormat} of its image, as they were when the server was made. */
  boot: string
  key_name: string | null
  user_data: string | null
  config_drive: string
  /** JSON object. */
  metadata: string
  /** JSON array. */
  tags: string
  /** JSON array of {bridge, mac}. */
  nics: string
  /** JSON array of names. */
  security_groups: string
  trusted_certs: string | null
  root_device_name: string
  reservation_id: string
  launch_index: number
  /** null, owner, admin. */
  locked_by: string | null
  locked_reason: string | null
  launched_at: string | null
  terminated_at: string | null
  /** A deleted server's row stays, for `changes-since` and the list of deleted servers. */
  deleted_at: string | null
  created_at: string
  updated_at: string
}

export interface FlavorTable {
  id: string
  name: string
  description: string | null
  vcpus: number
  memory_mib: number
  disk_gib: number
  ephemeral_gib: number
  swap_mib: number
  rxtx_factor: number
  is_public: number
  disabled: number
  /** JSON object. */
  extra_specs: string
  created_at: string
}

/** Projects that may use a flavor that is not public. */
export interface FlavorAccessTable {
  flavor_id: string
  project_id: string
}

export interface KeypairTable {
  user_id: string
  name: string
  number: number
  type: string
  public_key: string
  fingerprint: string
  created_at: string
}

export interface ComputeServiceTable {
  /** Its UUID, shown from microversion 2.53 on. */
  id: string
  /** Shown before 2.53; also the number of the hypervisor. */
  number: number
  host: string
  binary: string
  /** UUID of the hypervisor of a nova-compute. */
  hypervisor_id: string
  disabled: number
  disabled_reason: string | null
  forced_down: number
  created_at: string
  updated_at: string
}

export interface ComputeQuotaTable {
  project_id: string
  resource: string
  limit: number
}

/** What was asked of a server, one row for each request. */
export interface InstanceActionTable {
  request_id: string
  server_id: string
  action: string
  user_id: string
  project_id: string
  /** Of an attachment or detachment; null where the operation ends the action itself. */
  operation_id: string | null
  started_at: string
  finished_at: string | null
  /** Success or Error; null while under way. */
  result: string | null
  message: string | null
  /** The compute host on which it happened. */
  host: string | null
}

/** A server's way to another host: live, cold, a resize, or an evacuation. */
export interface ServerMigrationTable {
  /** Shown as its id by the Compute API. */
  number: Generated<number>
  id: string
  server_id: string
  /** live-migration, migration, resize, evacuation. */
  kind: string
  /** As Nova shows it, by kind: domain/server-migration.ts. */
  status: string
  source_host: string
  /** Null until it is chosen. */
  dest_host: string | null
  /** JSON: the flavor as it was, and as it becomes; the same but for a resize. */
  old_flavor: string
  new_flavor: string
  /** JSON object: by attachment, the head at the destination. */
  heads: string
  /** Whether the guest ran when it began. */
  was_running: number
  /** What it holds back for the server where `reserves` says so. */
  vcpus: number
  memory_mib: number
  /**
   * The host on which room is held back: the destination's until the server is there, the source's until a resize is
   * confirmed; null: none.
   */
  reserves: string | null
  operation_id: string | null
  user_id: string
  project_id: string
  /** Bytes; null: not known (yet). */
  memory_total: number | null
  memory_processed: number | null
  memory_remaining: number | null
  /** For how long the guest stood still. */
  downtime_ms: number | null
  /** Of a live migration: its completion is forced. */
  forced: number
  /** Why it failed. */
  message: string | null
  created_at: string
  updated_at: string
}

export interface ServerGroupTable {
  number: Generated<number>
  id: string
  project_id: string
  user_id: string
  name: string
  /** affinity, anti-affinity, soft-affinity, soft-anti-affinity. */
  policy: string
  /** JSON object. */
  rules: string
  created_at: string
}

export interface ServerGroupMemberTable {
  server_id: string
  group_id: string
}

/** Servers that a drain took from their host, until a restore brings them back or somebody moves them elsewhere. */
export interface DrainedServerTable {
  server_id: string
  /** The compute host that they left. */
  home: string
  /** live, cold, stop. */
  how: string
  was_running: number
  /** The compute host that it was brought to; of one that was stopped its home. */
  brought_to: string
  /** The drain. */
  operation_id: string
  created_at: string
}

export interface ComputeTables {
  server_migrations: ServerMigrationTable
  server_groups: ServerGroupTable
  server_group_members: ServerGroupMemberTable
  drained_servers: DrainedServerTable
  servers: ServerTable
  flavors: FlavorTable
  flavor_access: FlavorAccessTable
  keypairs: KeypairTable
  compute_services: ComputeServiceTable
  compute_quotas: ComputeQuotaTable
  instance_actions: InstanceActionTable
}
