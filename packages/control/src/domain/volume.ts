/** A volume as the application sees it. Field meanings: `db/tables/storage.ts`. */
export interface Volume {
  id: string
  projectId: string
  userId: string
  name: string | null
  description: string | null
  sizeGib: number
  status: VolumeStatus
  migrationStatus: MigrationStatus | null
  previousStatus: VolumeStatus | null
  bootable: boolean
  multiattach: boolean
  availabilityZone: string
  volumeTypeId: string | null
  flexvolId: string | null
  imageId: string | null
  sourceVolid: string | null
  /** The snapshot that it was made from. It may be gone since. */
  snapshotId: string | null
  /** Set: it is the content of this share. Hidden. */
  shareId: string | null
  /** Set: it is the root disk of this server, made from its image. Hidden. */
  rootOf: string | null
  metadata: Record<string, string>
  imageMetadata: Record<string, string>
  createdAt: string
  updatedAt: string | null
}

export type VolumeStatus =
  | 'creating'
  | 'downloading'
  | 'available'
  | 'reserved'
  | 'attaching'
  | 'in-use'
  | 'detaching'
  | 'maintenance'
  | 'extending'
  | 'uploading'
  | 'reverting'
  | 'deleting'
  | 'error'
  | 'error_deleting'
  | 'error_extending'

export type MigrationStatus = 'starting' | 'migrating' | 'completing' | 'success' | 'error'

export interface Copy {
  imageId: string
  /** Of a snapshot's copy: the volume that was snapshotted. */
  volumeId: string
  /** Set: it is a copy of that snapshot, and not of the volume. */
  snapshotId: string | null
  flexvolId: string
  node: string
  aggregate: string
  sizeBytes: number
  state: 'target' | 'live' | 'retained'
  operationId: string | null
  reservedBytes: number
  retainedUntil: string | null
  createdAt: string
}

export type AttachmentStatus =
  | 'reserved'
  | 'attaching'
  | 'attached'
  | 'detaching'
  | 'error_attaching'
  | 'error_detaching'

export interface Attachment {
  id: string
  volumeId: string
  serverId: string | null
  projectId: string
  /** The compute host; of a share's the storage node that serves it. */
  host: string | null
  /** Of its volume head; another one after its server went to another host. */
  headId: string
  /** Set: the share's own, on a storage node; it has no server. */
  shareId: string | null
  /** Set: that of a server's root disk, which is its server's. */
  rootOf: string | null
  status: AttachmentStatus
  attachMode: 'rw' | 'ro'
  mountpoint: string | null
  bootIndex: number | null
  deleteOnTermination: boolean
  connector: Record<string, unknown> | null
  attachedAt: string | null
  createdAt: string
}

/** A FlexVol, and where it is now. */
export interface FlexVol {
  id: string
  cluster: string
  name: string
  lif: string
  junctionPath: string
  node: string
  aggregate: string
  /** Bytes that its images may occupy; null: as much as the aggregate has. */
  sizeBytes: number | null
  /** Where it is moving to, and where its new images are made; null: it is not moving. */
  destination: AggregatePlace | null
  /** Bytes that the move holds back there for what it has still to copy. */
  moveReservedBytes: number
  /** Set: it holds this share alone, and is no Cinder pool. */
  shareId: string | null
  createdAt: string
}

/** A FlexVol as the configuration or a request describes it, made now. */
export const newFlexVol = (
  definition: Pick<FlexVol, 'cluster' | 'name' | 'lif' | 'junctionPath' | 'node' | 'aggregate'> & {
    sizeBytes?: number | null
    shareId?: string | null
  },
  createdAt: string,
): FlexVol => ({
  id: crypto.randomUUID(),
  cluster: definition.cluster,
  name: definition.name,
  lif: definition.lif,
  junctionPath: definition.junctionPath,
  node: definition.node,
  aggregate: definition.aggregate,
  sizeBytes: definition.sizeBytes ?? null,
  destination: null,
  moveReservedBytes: 0,
  shareId: definition.shareId ?? null,
  createdAt,
})

export interface AggregatePlace {
  node: string
  aggregate: string
}

/** Where a new image of the FlexVol is made. One that shares blocks with another is made beside that. */
export const placeForNew = (flexvol: FlexVol): AggregatePlace =>
  flexvol.destination ?? { node: flexvol.node, aggregate: flexvol.aggregate }

/**
 * No user of Cinder sees it: neither the volume nor its attachment, in lists, by its id, in quotas or with its server.
 * It is part of a share or of a server, and comes and goes with that. In queries: `db/repositories/hidden.ts`.
 */
export const isHidden = ({ shareId, rootOf }: Pick<Volume | Attachment, 'shareId' | 'rootOf'>): boolean =>
  shareId !== null || rootOf !== null

export const gib = 1024 ** 3
