import { nothingToUndo, operation } from '@volant/saga'
import { messageEvents } from '../domain/volume-message.ts'
import type { SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import { contentWait, lookAtContent, removeContent, sealContent, startContent } from './content.ts'
import { clearFailure, noteFailure, type FailureNotes } from './failure-note.ts'
import { changeToReverted, placeRevert, removeFormer, type RevertContentPorts } from './revert-content.ts'

export interface RevertVolumeInput {
  /** Its status is `reverting`; nobody has it open. */
  volumeId: string
  /** Its status is `restoring`. */
  snapshotId: string
  projectId: string
  requestId: string
  /** Of the file that will be the truth. */
  copyId: string
}

export interface RevertVolumePorts extends FailureNotes, RevertContentPorts {
  volumes: Pick<VolumeRecords, 'get' | 'updateIf'>
  snapshots: Pick<SnapshotRecords, 'get' | 'updateIf'>
}

const failed = messageEvents.revertFailed

/** A volume holds again what its latest snapshot holds: a new image of that becomes its truth. */
export const revertVolume = operation<RevertVolumeInput, RevertVolumePorts>('volume.revert', { version: 1 })
  .holds(({ volumeId, snapshotId }) => [`volume/${volumeId}`, `snapshot/${snapshotId}`])

  // Nothing to do: the request has claimed both. What is undone here is that claim; nothing was lost by then.
  .step('claimVolume', {
    do: () => null,
    undo: async ({ input, ports }) => release(ports, input),
  })

  .step('placeImage', {
    do: async ({ op, input, ports, now }) =>
      noteFailure(ports, op, input, failed, now(), () => placeRevert(ports, op, input, now())),
    undo: async ({ input, ports }) => ports.copies.remove(input.copyId),
  })

  .step('makeImage', {
    do: async ({ op, input, out, ports, now }) =>
      noteFailure(ports, op, input, failed, now(), async () => {
        await startContent(ports, op, input.copyId, out.placeImage)
        return null
      }),
    undo: ({ op, input, out, ports }) => removeContent(ports, op, input.copyId, out.placeImage),
    skipUndo: 'what was made of the image stays behind as a stray, which nothing uses',
  })

  .wait('copied', {
    ...contentWait,
    until: async ({ op, input, out, ports, now }) =>
      noteFailure(ports, op, input, failed, now(), async () =>
        lookAtContent(ports, op, input.copyId, out.placeImage),
      ),
  })

  .step('seal', {
    do: async ({ op, input, out, ports, now }) =>
      noteFailure(ports, op, input, failed, now(), async () => {
        await sealContent(ports, op, input.copyId, out.placeImage, false)
        return null
      }),
    undo: nothingToUndo,
  })

  .commit('changeTruth', {
    do: async ({ op, input, out, ports, now }) => {
      await changeToReverted(ports, op, input, out.placeImage, now())
      return null
    },
    happened: async ({ input, ports }) => (await ports.volumes.get(input.volumeId)).imageId === input.copyId,
  })

  .step('removeFormer', {
    skip: 'the former image is retained, and its time is over: it is removed in the background',
    do: async ({ op, out, ports }) => {
      await removeFormer(ports, op, out.placeImage)
      return null
    },
  })

  .step('release', {
    do: async ({ op, input, ports }) => {
      await clearFailure(ports, op)
      await release(ports, input)
      return null
    },
  })

async function release(ports: RevertVolumePorts, { volumeId, snapshotId }: RevertVolumeInput): Promise<void> {
  await ports.snapshots.updateIf(snapshotId, { status: ['restoring'] }, { status: 'available' })
  await ports.volumes.updateIf(volumeId, { status: ['reverting'] }, { status: 'available' })
}
