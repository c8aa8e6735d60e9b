import { isDomainError, messageOf } from '@volant/contract'
import { messageLifetimeDays } from '../domain/volume-message.ts'
import type { ShareMessageEvent } from '../domain/share-message.ts'
import type { VolumeMessageRecords } from '../ports/block-storage.ts'
import type { SnapshotRecords } from '../ports/records.ts'
import { noteShareFailure, type ShareFailureNotes } from './share-failure.ts'

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

export interface SnapshotFailureNotes extends FailureNotes, ShareFailureNotes {
  snapshots: Pick<SnapshotRecords, 'find'>
}

/** As `noteFailure`, of a snapshot: that of a share is told to those who use shares. */
export async function noteSnapshotFailure<T>(
  ports: SnapshotFailureNotes,
  op: { id: string },
  about: { projectId: string; requestId: string; snapshotId: string },
  event: { ofVolume: string; ofShare: ShareMessageEvent },
  now: Date,
  work: () => Promise<T>,
): Promise<T> {
  const { projectId, requestId, snapshotId } = about
  if (((await ports.snapshots.find(snapshotId))?.shareId ?? null) === null) {
    return noteFailure(ports, op, { projectId, requestId, resourceId: snapshotId }, event.ofVolume, now, work)
  }
  return noteShareFailure(ports, op, about, event.ofShare, now, work)
}

export async function clearSnapshotFailure(ports: SnapshotFailureNotes, op: { id: string }): Promise<void> {
  await ports.messages.remove(op.id)
  await ports.shareMessages.remove(op.id)
}
