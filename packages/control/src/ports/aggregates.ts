/**
 * Aggregates of all clusters, those of the configuration and those that were made at run time, as both APIs that offer
 * them need it (ONTAP's and /ndo/v1). Who may is decided before: only administrators get this far.
 */
export interface Aggregates {
  /** In the configuration's order, then by age. A node that is away makes its aggregates `unavailable`, never absent. */
  list(): Promise<AggregateView[]>
  /** Names are unique in their cluster. */
  find(cluster: string, name: string): Promise<AggregateView | undefined>
  /**
   * Checks everything, and only then records the operation `aggregate.create`. Throws `notFound` (cluster, node),
   * `conflict` (the name is taken), `invalid` (name, size), `unavailable` (the node is away). What only the node can
   * find out (no room, no XFS there) fails the operation, and leaves nothing.
   */
  create(request: AggregateRequest): Promise<{ operationId: string }>
  /**
   * Records the operation `aggregate.delete`. Throws `notFound`, and `conflict` while a FlexVol or an image is there,
   * a retained one as well (then it says until when), or where the configuration has it.
   */
  remove(cluster: string, name: string): Promise<{ operationId: string }>
}

export interface AggregateRequest {
  cluster: string
  /** Absent: the cluster's first. */
  node?: string
  name: string
  /** Bytes. `xfs`: needed, at least 512 MiB. `folder`: a limit; absent: as large as its file system. */
  sizeBytes?: number
  /** Absent: `xfs` where a size is given and the node can format and mount, else `folder`. */
  filesystem?: 'folder' | 'xfs'
}

export interface AggregateView {
  cluster: string
  node: string
  name: string
  /** Of its folder or mount point, on the node's machine. */
  path: string
  filesystem: 'folder' | 'xfs'
  /** Named by the configuration file, and removed there alone; else it was made at run time. */
  configured: boolean
  /** Null: configured. */
  createdAt: string | null
  state: 'online' | 'deleting' | 'unavailable'
  /** Why it is unavailable; null: it is not. */
  reason: string | null
  /** The operation that empties it: nothing new is placed there. Absent: none does. */
  vacatedBy?: string
  /** Images there can share blocks; null while it is unavailable. */
  reflink: boolean | null
  /** Null while it is unavailable. */
  space: AggregateFigures | null
  /** FlexVols that are here, move here, or have images here. */
  flexvols: AggregateFlexVol[]
}

/** Bytes. */
export interface AggregateFigures {
  totalBytes: number
  /** `xfs`: what is taken of the file system, shared blocks once. `folder`: what Volant's images occupy. */
  usedBytes: number
  /** What can still be written. */
  freeBytes: number
  /** What operations and moves under way hold back of it. */
  reservedBytes: number
  /** `freeBytes` without `reservedBytes`, never below 0. */
  availableBytes: number
}

export interface AggregateFlexVol {
  id: string
  name: string
  /** `home`: it is here. `destination`: it moves here. `images`: some of its images are still here, or kept here. */
  role: 'home' | 'destination' | 'images'
  /** Images of it here: volumes', snapshots', and such as are being made; and those kept for an undo. */
  images: number
  retained: number
  /** When the last of the retained ones goes; null: none is here. */
  retainedUntil: string | null
}
