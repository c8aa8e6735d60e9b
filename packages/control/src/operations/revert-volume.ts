import { DomainError } from '@volant/contract'
import { nothingToUndo, operation } from '@volant/saga'
import { messageEvents } from '../domain/volume-message.ts'
import type { Copy } from '../domain/volume.ts'
import type { CopyRecords, SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import {
  contentOf,
  contentWait,
  lookAtContent,
  planContent,
  removeContent,
  sealContent,
  startContent,
  type ContentPorts,
} from './content.ts'
import { clearFailure, noteFailure, type FailureNotes } from './failure-note.ts'

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

export interface RevertVolumePorts extends FailureNotes, Omit<ContentPorts, 'volumes' | 'copies'> {
  volumes: Pick<VolumeRecords, 'get' | 'updateIf'>
  snapshots: Pick<SnapshotRecords, 'get' | 'updateIf'>
  copies: ContentPorts['copies'] & Pick<CopyRecords, 'create' | 'remove' | 'changeTruth'>
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

  // Beside the snapshot's image: only there can they share blocks.
  .step('placeImage', {
    do: async ({ op, input, ports, now }) =>
      noteFailure(ports, op, input, failed, now(), async () => {
        const from = await imageOf(ports, input.snapshotId)
        const plan = await planContent(ports, { from, place: from, volumeId: null })
        const copy: Copy = {
          ...from,
          imageId: input.copyId,
          volumeId: input.volumeId,
          snapshotId: null,
          state: 'target',
          operationId: op.id,
          reservedBytes: plan.reservedBytes,
          retainedUntil: null,
          createdAt: now().toISOString(),
        }
        // A move of the FlexVol may have changed it until this operation began.
        const { imageId: formerImageId } = await ports.volumes.get(input.volumeId)
        if (formerImageId === null) throw new DomainError('conflict', 'The volume has no data to give up.')
        await ports.copies.create(copy)
        return { method: plan.method, sourceImageId: from.imageId, formerImageId }
      }),
    undo: async ({ input, ports }) => ports.copies.remove(input.copyId),
  })

  .step('makeImage', {
    do: async ({ op, input, out, ports, now }) =>
      noteFailure(ports, op, input, failed, now(), async () => {
        await startContent(ports, op, await contentOf(ports, input.copyId, out.placeImage))
        return null
      }),
    undo: ({ op, input, out, ports }) => removeContent(ports, op, input.copyId, out.placeImage),
    skipUndo: 'what was made of the image stays behind as a stray, which nothing uses',
  })

  .wait('copied', {
    ...contentWait,
    until: async ({ op, input, out, ports, now }) =>
      noteFailure(ports, op, input, failed, now(), async () =>
        lookAtContent(ports, op, await contentOf(ports, input.copyId, out.placeImage)),
      ),
  })

  .step('seal', {
    do: async ({ op, input, out, ports, now }) =>
      noteFailure(ports, op, input, failed, now(), async () => {
        await sealContent(ports, op, await contentOf(ports, input.copyId, out.placeImage), false)
        return null
      }),
    undo: nothingToUndo,
  })

  .commit('changeTruth', {
    do: async ({ op, input, out, ports, now }) => {
      await ports.copies.changeTruth({
        volumeId: input.volumeId,
        fromImageId: out.placeImage.formerImageId,
        toImageId: input.copyId,
        operationId: op.id,
        fence: op.fence,
        retainedUntil: now().toISOString(),
      })
      return null
    },
    happened: async ({ input, ports }) => (await ports.volumes.get(input.volumeId)).imageId === input.copyId,
  })

  .step('removeFormer', {
    skip: 'the former image is retained, and its time is over: it is removed in the background',
    do: async ({ op, out, ports }) => {
      const former = await ports.copies.find(out.placeImage.formerImageId)
      if (former === undefined) return null
      await ports.backend.ensureNoImage(callerOf(op), former)
      await ports.copies.remove(former.imageId)
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

async function imageOf(ports: RevertVolumePorts, snapshotId: string): Promise<Copy> {
  const { imageId } = await ports.snapshots.get(snapshotId)
  if (imageId === null) throw new DomainError('conflict', `Snapshot ${snapshotId} has no data.`)
  return ports.copies.get(imageId)
}
