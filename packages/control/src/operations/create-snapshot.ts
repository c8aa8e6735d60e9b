import { DomainError } from '@volant/contract'
import { nothingToUndo, operation } from '@volant/saga'
import { shareMessageEvents } from '../domain/share-message.ts'
import { messageEvents } from '../domain/volume-message.ts'
import type { Copy } from '../domain/volume.ts'
import type { SnapshotCreation } from '../ports/snapshots.ts'
import type { Agents } from '../ports/agents.ts'
import { callerOf } from './caller.ts'
import { throughRestart } from './patience.ts'
import { clearSnapshotFailure, noteSnapshotFailure, type SnapshotFailureNotes } from './failure-note.ts'
import {
  contentWait,
  lookAtContent,
  planContent,
  removeContent,
  sealContent,
  startContent,
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

export interface CreateSnapshotPorts extends SnapshotFailureNotes, ContentPorts {
  agents: Pick<Agents, 'holders' | 'shares'>
  births: SnapshotCreation
}

const failed = { ofVolume: messageEvents.snapshotFailed, ofShare: shareMessageEvents.createFailed }

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
      noteSnapshotFailure(ports, op, input, failed, now(), async () => {
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
      noteSnapshotFailure(ports, op, input, failed, now(), async () => {
        await flushShare(ports, op, input.volumeId)
        await startContent(ports, op, input.copyId, out.placeImage)
        return null
      }),
    undo: ({ op, input, out, ports }) => removeContent(ports, op, input.copyId, out.placeImage),
    skipUndo: 'what was made of the image stays behind as a stray, which nothing uses',
    retry: throughRestart,
  })

  .wait('copied', {
    ...contentWait,
    until: async ({ op, input, out, ports, now }) =>
      noteSnapshotFailure(ports, op, input, failed, now(), async () =>
        lookAtContent(ports, op, input.copyId, out.placeImage),
      ),
  })

  .step('seal', {
    do: async ({ op, input, out, ports, now }) =>
      noteSnapshotFailure(ports, op, input, failed, now(), async () => {
        await sealContent(ports, op, input.copyId, out.placeImage, true)
        return null
      }),
    undo: nothingToUndo,
    retry: throughRestart,
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
      await clearSnapshotFailure(ports, op)
      return null
    },
    happened: async ({ input, ports }) =>
      (await ports.snapshots.find(input.snapshotId))?.imageId === input.copyId,
  })

/** What the clients of a share have written is in its image: they were told so. */
async function flushShare(
  ports: CreateSnapshotPorts,
  op: { id: string; fence: number },
  volumeId: string,
): Promise<void> {
  const { shareId } = await ports.volumes.get(volumeId)
  if (shareId === null) return
  const attachments = await ports.attachments.ofVolume(volumeId)
  const host = attachments.find((one) => one.shareId === shareId)?.host ?? null
  if (host === null) return
  await ports.agents.shares(host).flushFileSystem(callerOf(op), shareId)
}

async function truthOf(ports: CreateSnapshotPorts, volumeId: string): Promise<Copy> {
  const { imageId } = await ports.volumes.get(volumeId)
  if (imageId === null) throw new DomainError('conflict', `Volume ${volumeId} has no data yet.`)
  return ports.copies.get(imageId)
}
