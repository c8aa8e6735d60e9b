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
