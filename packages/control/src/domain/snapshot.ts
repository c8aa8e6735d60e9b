import type { VolumeStatus } from './volume.ts'

/** A snapshot of a volume: an image that nobody writes to, in the volume's FlexVol. */
export interface Snapshot {
  id: string
  volumeId: string
  projectId: string
  userId: string
  name: string | null
  description: string | null
  /** The volume's size when it was made. */
  sizeGib: number
  status: SnapshotStatus
  metadata: Record<string, string>
  flexvolId: string
  /** Set: a share's snapshot, which no Cinder user sees. */
  shareId: string | null
  /** The truth, as of a volume; null until it was made. */
  imageId: string | null
  /** Made by sharing blocks (`clone`) or by copying all of them (`copy`); null until it was made. */
  method: 'clone' | 'copy' | null
  createdAt: string
  updatedAt: string | null
}

export type SnapshotStatus =
  | 'creating'
  | 'available'
  | 'deleting'
  | 'error'
  | 'error_deleting'
  | 'restoring'
  | 'unmanaging'

/**
 * Statuses of a volume that can be snapshotted with `force`, or since microversion 3.66. In the others its image is not
 * whole, or is about to be another one.
 */
export const snapshotableStatuses: readonly VolumeStatus[] = [
  'available',
  'in-use',
  'reserved',
  'attaching',
  'detaching',
]

/** Statuses in which a snapshot may be deleted. */
export const deletableSnapshotStatuses: readonly SnapshotStatus[] = ['available', 'error', 'error_deleting']

/** What an administrator may set by hand. */
export const settableSnapshotStatuses: readonly SnapshotStatus[] = [
  'creating',
  'available',
  'deleting',
  'error',
  'error_deleting',
]
