/** What a project is told of a request about a share that failed after it was accepted (`manila message-list`). */
export interface ShareMessage {
  id: string
  projectId: string
  requestId: string | null
  resourceType: 'SHARE' | 'SHARE_SNAPSHOT'
  resourceId: string | null
  /** Manila's numbers, as texts of three digits. */
  actionId: string
  detailId: string
  text: string
  createdAt: string
  expiresAt: string
}

/** Days that a message is kept; Manila's `message_ttl`. */
export const shareMessageLifetimeDays = 30

/** Manila's numbers of what failed, and of how. */
export const shareMessageEvents = {
  createFailed: { actionId: '002', detailId: '001' },
  createFromSnapshotFailed: { actionId: '002', detailId: '017' },
  deleteFailed: { actionId: '007', detailId: '001' },
  extendFailed: { actionId: '008', detailId: '015' },
  revertFailed: { actionId: '006', detailId: '001' },
  accessFailed: { actionId: '010', detailId: '001' },
  migrationFailed: { actionId: '005', detailId: '001' },
} as const

export type ShareMessageEvent = { actionId: string; detailId: string }
