/** What a project is told of a request that failed after it was accepted (`cinder message-list`). */
export interface VolumeMessage {
  id: string
  projectId: string
  requestId: string
  volumeId: string
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
} as const
