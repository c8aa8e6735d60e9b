import { DomainError } from '@volant/contract'
import { operation } from '@volant/saga'
import { shareMessageEvents } from '../domain/share-message.ts'
import { messageEvents } from '../domain/volume-message.ts'
import type { CopyRecords, SnapshotRecords } from '../ports/records.ts'
import type { SnapshotLists } from '../ports/snapshots.ts'
import { callerOf } from './caller.ts'
import { hideSnapshot, type HideSnapshotPorts } from './snapshot-service.ts'
import { clearSnapshotFailure, noteSnapshotFailure, type SnapshotFailureNotes } from './failure-note.ts'

export interface DeleteSnapshotInput {
  /** Its status is `deleting`. */
  snapshotId: string
  projectId: string
  requestId: string
  /** What a share's snapshot that can be mounted is served from: it goes first. Absent: it is not shown. */
  shownVolumeId?: string
}

export interface DeleteSnapshotPorts
  extends SnapshotFailureNotes, Omit<HideSnapshotPorts, 'copies' | 'backend'> {
  snapshots: Pick<SnapshotRecords, 'find' | 'updateIf' | 'remove'>
  snapshotLists: Pick<SnapshotLists, 'usersOf'>
  copies: HideSnapshotPorts['copies'] & Pick<CopyRecords, 'ofSnapshot' | 'remove'>
  backend: HideSnapshotPorts['backend']
}

const failed = { ofVolume: messageEvents.snapshotDeleteFailed, ofShare: shareMessageEvents.deleteFailed }

/** Removes a snapshot's images, and then its record. Volumes that were made of it have blocks of their own. */
export const deleteSnapshot = operation<DeleteSnapshotInput, DeleteSnapshotPorts>('snapshot.delete', {
  version: 1,
})
  .holds(({ snapshotId, shownVolumeId }) => [
    `snapshot/${snapshotId}`,
    ...(shownVolumeId === undefined ? [] : [`volume/${shownVolumeId}`, `snapshot-access/${snapshotId}`]),
  ])

  // The request has set `deleting`. A part of the images may be gone when it fails: there is no way back to
  // `available`, but the deletion can be asked for again.
  .step('claimSnapshot', {
    do: () => null,
    undo: async ({ input, ports }) => {
      await ports.snapshots.updateIf(input.snapshotId, { status: ['deleting'] }, { status: 'error_deleting' })
    },
  })

  .commit('removeImages', {
    do: async ({ op, input, ports, now }) =>
      noteSnapshotFailure(ports, op, input, failed, now(), async () => {
        const [user] = await ports.snapshotLists.usersOf(input.snapshotId)
        if (user !== undefined) {
          throw new DomainError('conflict', `Volume ${user} is being made of the snapshot.`)
        }
        await hideSnapshot(ports, callerOf(op), input.snapshotId)
        for (const copy of await ports.copies.ofSnapshot(input.snapshotId)) {
          await ports.backend.ensureNoImage(callerOf(op), copy)
          await ports.copies.remove(copy.imageId)
        }
        return null
      }),
    happened: async ({ input, ports }) => (await ports.copies.ofSnapshot(input.snapshotId)).length === 0,
    backoff: '1s',
  })

  .step('removeRecord', {
    do: async ({ op, input, ports }) => {
      await ports.snapshots.remove(input.snapshotId)
      await clearSnapshotFailure(ports, op)
      return null
    },
  })
