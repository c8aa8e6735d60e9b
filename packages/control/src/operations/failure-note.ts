import { isDomainError, messageOf } from '@volant/contract'
import { messageLifetimeDays } from '../domain/volume-message.ts'
import type { VolumeMessageRecords } from '../ports/block-storage.ts'

export interface FailureNotes {
  messages: Pick<VolumeMessageRecords, 'put' | 'remove'>
}

/** What the message is about, whose it is, and which request it answers. */
type About = { projectId: string; requestId: string } & ({ volumeId: string } | { resourceId: string })

/** The operation came through in the end: what was noted on the way is no news. */
export const clearFailure = (ports: FailureNotes, op: { id: string }): Promise<void> =>
  ports.messages.remove(op.id)

/**
 * Runs a step's work; where it fails, leaves the reason as a message for the project. One message for each
 * operation, however often the step is tried: its id is the operation's.
 */
export async function noteFailure<T>(
  ports: FailureNotes,
  op: { id: string },
  about: About,
  eventId: string,
  now: Date,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const expires = new Date(now.getTime() + messageLifetimeDays * 86_400_000)
    await ports.messages.put({
      id: op.id,
      projectId: about.projectId,
      requestId: about.requestId,
      resourceId: 'resourceId' in about ? about.resourceId : about.volumeId,
      level: 'ERROR',
      eventId,
      text:
        isDomainError(error) && error.code !== 'internal' ? messageOf(error) : 'An internal fault occurred.',
      createdAt: now.toISOString(),
      expiresAt: expires.toISOString(),
    })
    throw error
  }
}
