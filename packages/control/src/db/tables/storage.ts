import type { ColumnType, Generated } from 'kysely'

/** Times are UTC in ISO 8601 with milliseconds and `Z`; JSON columns hold text; booleans are 0 or 1. */
export interface FlexVolTable {
  id: string
  /** The cluster's name: the Cinder backend. */
  cluster: string
  name: string
  /** Address clients see; first half of the pool's name. */
  lif: string
  /** Second half of the pool's name, with its leading slash. */
  junction_path: string
  node: string
  aggregate: string
  created_at: string
  /** What its images may occupy; null: as much as the aggregate has. */
  size_bytes: number | null
  /** Both, while it moves there. */
  destination_node: string | null
  destination_aggregate: string | null
  /** Bytes that the move holds back at the destination. */
  move_reserved_bytes: Generated<number>
  /** It holds this share alone. */
  share_id: string | null
}

/** Each move of a FlexVol; the id is the operation's. */
export interface FlexVolMoveTable {
  id: string
  flexvol_id: string
  from_node: string
  from_aggregate: string
  to_node: string
  to_aggregate: string
  cutover_window_seconds: number
  /** retry_on_failure, abort_on_failure, defer_on_failure, wait. */
  cutover_action: string
  /** automatic, held, triggered. */
  cutover: string
  /** running, succeeded, failed, aborted. */
  state: string
  started_at: string
  ended_at: string | null
}

/** Aggregates made at run time; those of the configuration have no row. */
export interface AggregateTable {
  cluster: string
  name: string
  node: string
  path: string
  /** folder or xfs. */
  filesystem: string
  size_bytes: number | null
  created_at: string
}

export interface SnapshotTable {
  id: string
  volume_id: string
  project_id: string
  user_id: string
  name: string | null
  description: string | null
  size_gib: number
  /** As Cinder's: creating, available, deleting, error, error_deleting, restoring. */
  status: string
  /** A JSON object. */
  metadata: string
  flexvol_id: string
  /** The snapshot's truth; null until it was made. */
  image_id: string | null
  /** clone or copy. */
  method: string | null
  share_id: string | null
  created_at: string
  updated_at: string | null
}

export interface VolumeTable {
  id: string
  project_id: string
  user_id: string
  name: string | null
  description: string | null
  size_gib: number
  /** As Cinder's: creating, available, reserved, attaching, in-use, detaching, maintenance, extending, deleting, error… */
  status: string
  /** null, starting, migrating, completing, success, error. */
  migration_status: string | null
  /** What to go back to after maintenance, extending. */
  previous_status: string | null
  bootable: number
  multiattach: number
  availability_zone: string
  volume_type_id: string | null
  /** The pool it lives in. Null until the scheduler has chosen. */
  flexvol_id: string | null
  /** THE TRUTH: the one copy that holds every acknowledged write. Null until it was created. */
  image_id: string | null
  source_volid: string | null
  snapshot_id: string | null
  /** It is this share's content. */
  share_id: string | null
  /** It is this server's root disk. */
  root_of: string | null
  /** JSON objects. */
  metadata: string
  image_metadata: string
  /** Changed by triggers with every change of the row, and of its attachments. */
  revision: ColumnType<number, number | undefined, number>
  created_at: string
  updated_at: string | null
}

/** One row for each image file that Volant owns, in whatever role. */
export interface CopyTable {
  /** The image's UUID. */
  image_id: string
  /** Of a snapshot's copy: the volume that was snapshotted. */
  volume_id: string
  /** Set: a copy of that snapshot, and not of the volume. */
  snapshot_id: string | null
  flexvol_id: string
  /** Where the image is. A FlexVol's images follow it when it moves, each at its own time. */
  node: string
  aggregate: string
  size_bytes: number
  /**
   * target: being made, is nothing yet; live: the truth; retained: a former truth, read-only, kept until
   * `retained_until`.
   */
  state: 'target' | 'live' | 'retained'
  /** The operation that made it (target) or left it (retained). */
  operation_id: string | null
  /** Bytes that the pool holds back for it while it is written. */
  reserved_bytes: number
  retained_until: string | null
  created_at: string
}

/** Kept by triggers: how many volumes a FlexVol has. */
export interface FlexVolSumTable {
  flexvol_id: string
  of_share: number
  volumes: number
}

/** Kept by triggers: the copies of one state, of volumes or of snapshots, that a FlexVol has on an aggregate. */
export interface CopySumTable {
  flexvol_id: string
  node: string
  aggregate: string
  state: CopyTable['state']
  of_snapshot: number
  copies: number
  size_bytes: number
  reserved_bytes: number
}

export interface AttachmentTable {
  id: string
  volume_id: string
  /** Null: reserved without a server (attachments API). */
  server_id: string | null
  project_id: string
  /** The compute host, or the storage node of a share's; null until known. */
  host: string | null
  /** Of its volume head. */
  head_id: string
  /** The share that it serves, or the share's snapshot: its node's agent knows it by that id. */
  share_id: string | null
  /** The server whose root disk it is: `server_id`, or null. */
  root_of: string | null
  /** reserved, attaching, attached, detaching, error_attaching, error_detaching. */
  status: string
  attach_mode: 'rw' | 'ro'
  /** Device name as the API shows it, /dev/vdb. */
  mountpoint: string | null
  /** 0 for the disk the server boots from. */
  boot_index: number | null
  delete_on_termination: number
  /** JSON: what the caller sent with the attachments API. */
  connector: string | null
  attached_at: string | null
  created_at: string
}

/** A head that is to get no access any more: its host was given up. */
export interface FencedHeadTable {
  head_id: string
  volume_id: string
  server_id: string | null
  host: string
  fenced_at: string
}

export interface StorageTables {
  flexvols: FlexVolTable
  flexvol_moves: FlexVolMoveTable
  aggregates: AggregateTable
  snapshots: SnapshotTable
  volumes: VolumeTable
  copies: CopyTable
  copy_sums: CopySumTable
  flexvol_sums: FlexVolSumTable
  attachments: AttachmentTable
  fenced_heads: FencedHeadTable
}
