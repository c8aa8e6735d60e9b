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
  | 'deleting'
  | 'error'
  | 'error_deleting'
  | 'error_extending'

export type MigrationStatus = 'starting' | 'migrating' | 'completing' | 'success' | 'error'

export interface Copy {
  imageId: string
  volumeId: string
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
  host: string | null
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
}

export const gib = 1024 ** 3

/** Volumes with these statuses hold an image open somewhere. */
export const attachedStatuses: readonly VolumeStatus[] = ['attaching', 'in-use', 'detaching', 'reserved']
