import { isDomainError, messageOf } from '@volant/contract'
import {
  shareMessageLifetimeDays,
  type ShareMessage,
  type ShareMessageEvent,
} from '../domain/share-message.ts'

export interface ShareFailureNotes {
  shareMessages: {
    /** Writes or rewrites the message of that id. */
    put(message: ShareMessage): Promise<void>
    remove(id: string): Promise<void>
  }
}

/** What the message is about, whose it is, and which request it answers. */
export type AboutShare = { projectId: string; requestId: string | null } & (
  | { shareId: string }
  | { snapshotId: string }
)

/** The operation came through in the end: what was noted on the way is no news. */
export const clearShareFailure = (ports: ShareFailureNotes, op: { id: string }): Promise<void> =>
  ports.shareMessages.remove(op.id)

/**
 * Runs a step's work; where it fails, leaves the reason as a message for the project. One message for each operation,
 * however often the step is tried: its id is the operation's.
 */
export async function noteShareFailure<T>(
  ports: ShareFailureNotes,
  op: { id: string },
  about: AboutShare,
  event: ShareMessageEvent,
  now: Date,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const text =
      isDomainError(error) && error.code !== 'internal' ? messageOf(error) : 'An internal fault occurred.'
    await ports.shareMessages.put(shareMessage(op, about, event, now, text))
    throw error
  }
}

export const shareMessage = (
  op: { id: string },
  about: AboutShare,
  event: ShareMessageEvent,
  now: Date,
  text: string,
): ShareMessage => ({
  id: op.id,
  projectId: about.projectId,
  requestId: about.requestId,
  resourceType: 'shareId' in about ? 'SHARE' : 'SHARE_SNAPSHOT',
  resourceId: 'shareId' in about ? about.shareId : about.snapshotId,
  ...event,
  text,
  createdAt: now.toISOString(),
  expiresAt: new Date(now.getTime() + shareMessageLifetimeDays * 86_400_000).toISOString(),
})
