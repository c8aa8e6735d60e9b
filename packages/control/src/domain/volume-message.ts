/** What a project is told of a request that failed after it was accepted (`cinder message-list`). */
export interface VolumeMessage {
  id: string
  projectId: string
  requestId: string
  /** The volume's or snapshot's id. */
  resourceId: string
  level: 'ERROR'
  /** Cinder's identifier, `VOLUME_VOLUME_001_002`: resource, action, detail. */
  eventId: string
  text: string
  createdAt: string
  expiresAt: string
}

/** Days that a message is kept; Cinder's `message_ttl`. */
export const messageLifetimeDays = 30

export const messageEvents = {
  scheduleFailed: 'VOLUME_VOLUME_001_002',
  createFailed: 'VOLUME_VOLUME_001_001',
  imageFailed: 'VOLUME_VOLUME_002_007',
  deleteFailed: 'VOLUME_VOLUME_010_001',
  extendFailed: 'VOLUME_VOLUME_007_001',
  revertFailed: 'VOLUME_VOLUME_001_001',
  snapshotFailed: 'VOLUME_VOLUME_SNAPSHOT_009_001',
  snapshotDeleteFailed: 'VOLUME_VOLUME_SNAPSHOT_010_001',
} as const

/** What the message is about, by Cinder's word. */
export const resourceTypeOf = ({ eventId }: Pick<VolumeMessage, 'eventId'>): 'VOLUME' | 'VOLUME_SNAPSHOT' =>
  eventId.startsWith('VOLUME_VOLUME_SNAPSHOT_') ? 'VOLUME_SNAPSHOT' : 'VOLUME'
