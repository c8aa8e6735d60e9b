import { DomainError } from '@volant/contract'
import { nothingToUndo, operation } from '@volant/saga'
import { messageEvents } from '../domain/volume-message.ts'
import type { Copy } from '../domain/volume.ts'
import type { SnapshotCreation } from '../ports/snapshots.ts'
import type { SnapshotRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { noteFailure, type FailureNotes } from './failure-note.ts'
import {
  endContent,
  lookAtContent,
  planContent,
  startContent,
  type Content,
  type ContentPlan,
  type ContentPorts,
} from './content.ts'

export interface CreateSnapshotInput {
  /** The row is there, `creating`. */
  snapshotId: string
  volumeId: string
  projectId: string
  requestId: string
  /** Of the file that will hold its bytes. */
  copyId: string
}

export interface CreateSnapshotPorts extends FailureNotes, ContentPorts {
  snapshots: Pick<SnapshotRecords, 'find'>
  births: SnapshotCreation
}

const failed = messageEvents.snapshotFailed

/**
 * Makes a snapshot: an image beside the volume's that holds what the volume held at one instant, and that nobody writes
 * to. While a server writes to the volume it is what a power loss at that instant would have left.
 */
export const createSnapshot = operation<CreateSnapshotInput, CreateSnapshotPorts>('snapshot.create', {
  version: 1,
})
  .holds(({ volumeId, snapshotId }) => [`volume/${volumeId}`, `snapshot/${snapshotId}`])

  // Beside the volume's image, wherever the FlexVol's new images are made: only there can they share blocks.
  .step('placeImage', {
    do: async ({ op, input, ports, now }) =>
      noteFailure(ports, op, about(input), failed, now(), async () => {
        const truth = await truthOf(ports, input.volumeId)
        const plan = await planContent(ports, { from: truth, place: truth, volumeId: input.volumeId })
        const copy: Copy = {
          ...truth,
          imageId: input.copyId,
          snapshotId: input.snapshotId,
          state: 'target',
          operationId: op.id,
          reservedBytes: plan.reservedBytes,
          retainedUntil: null,
          createdAt: now().toISOString(),
        }
        await ports.births.begin(copy)
        return { method: plan.method, head: plan.head, sourceImageId: truth.imageId }
      }),
    undo: async ({ input, ports, now }) => {
      await ports.births.abandon(input.snapshotId, input.copyId, now().toISOString())
    },
  })

  .step('fixInstant', {
    do: async ({ op, input, out, ports, now }) =>
      noteFailure(ports, op, about(input), failed, now(), async () => {
        await startContent(ports, op, await contentOf(ports, input, out.placeImage))
        return null
      }),
    undo: async ({ op, input, out, ports }) => {
      const to = await ports.copies.find(input.copyId)
      const from = await ports.copies.find(out.placeImage.sourceImageId)
      if (to === undefined) return
      if (from !== undefined) await endContent(ports, op, { ...out.placeImage, from, to })
      await ports.backend.ensureNoImage(callerOf(op), to)
    },
    skipUndo: 'what was made of the image stays behind as a stray, which nothing uses',
  })

  .wait('copied', {
    every: '500ms',
    stallTimeout: '15m',
    until: async ({ op, input, out, ports, now, progress }) =>
      noteFailure(ports, op, about(input), failed, now(), async () => {
        const look = await lookAtContent(ports, op, await contentOf(ports, input, out.placeImage))
        progress(look.progress ?? null)
        return look
      }),
  })

  .step('seal', {
    do: async ({ op, input, out, ports, now }) =>
      noteFailure(ports, op, about(input), failed, now(), async () => {
        const content = await contentOf(ports, input, out.placeImage)
        await endContent(ports, op, content)
        await ports.backend.ensureReadOnly(callerOf(op), content.to, true)
        return null
      }),
    undo: nothingToUndo,
  })

  .commit('publish', {
    do: async ({ op, input, out, ports, now }) => {
      await ports.births.complete({
        snapshotId: input.snapshotId,
        imageId: input.copyId,
        method: out.placeImage.method,
        messageId: op.id,
        at: now().toISOString(),
      })
      return null
    },
    happened: async ({ input, ports }) =>
      (await ports.snapshots.find(input.snapshotId))?.imageId === input.copyId,
  })

const about = ({ projectId, requestId, snapshotId }: CreateSnapshotInput) => ({
  projectId,
  requestId,
  resourceId: snapshotId,
})

async function truthOf(ports: CreateSnapshotPorts, volumeId: string): Promise<Copy> {
  const { imageId } = await ports.volumes.get(volumeId)
  if (imageId === null) throw new DomainError('conflict', `Volume ${volumeId} has no data yet.`)
  return ports.copies.get(imageId)
}

async function contentOf(
  ports: CreateSnapshotPorts,
  input: CreateSnapshotInput,
  placed: Pick<ContentPlan, 'method' | 'head'> & { sourceImageId: string },
): Promise<Content> {
  const from = await ports.copies.get(placed.sourceImageId)
  return { method: placed.method, head: placed.head, from, to: await ports.copies.get(input.copyId) }
}
