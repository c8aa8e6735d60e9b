import { nothingToUndo, operation } from '@volant/saga'
import { shareMessageEvents } from '../domain/share-message.ts'
import type { ShareStatus } from '../domain/share.ts'
import { gib } from '../domain/volume.ts'
import type { FlexVolRecords, SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import type { ShareRecords } from '../ports/shares.ts'
import { callerOf } from './caller.ts'
import { contentWait, lookAtContent, removeContent, sealContent, startContent } from './content.ts'
import { throughRestart } from './patience.ts'
import { changeToReverted, placeRevert, removeFormer, type RevertContentPorts } from './revert-content.ts'
import { clearShareFailure, noteShareFailure, type ShareFailureNotes } from './share-failure.ts'
import {
  ensureNoShareFileSystem,
  ensureNoShareHead,
  ensureNotExported,
  ensureServed,
  type ShareServicePorts,
} from './share-service.ts'

export interface RevertShareInput {
  /** Its status is `reverting`. */
  shareId: string
  /** The share's. */
  volumeId: string
  /** Its status is `restoring`. */
  snapshotId: string
  /** Of the file that will be the truth. */
  copyId: string
  projectId: string
  requestId: string
}

type Own = 'agents' | 'attachments' | 'backend' | 'copies' | 'shares' | 'snapshots' | 'volumes'

export interface RevertSharePorts
  extends ShareFailureNotes, Omit<ShareServicePorts, Own>, Omit<RevertContentPorts, Own> {
  shares: Pick<ShareRecords, 'find' | 'get' | 'updateIf'>
  snapshots: Pick<SnapshotRecords, 'get' | 'updateIf'>
  volumes: Pick<VolumeRecords, 'get' | 'update'>
  flexvols: Pick<FlexVolRecords, 'update'>
  copies: RevertContentPorts['copies']
  attachments: RevertContentPorts['attachments']
  backend: RevertContentPorts['backend']
  agents: ShareServicePorts['agents']
}

const failed = shareMessageEvents.revertFailed

/**
 * A share holds again what its latest snapshot holds. The new image is made while clients go on; then the share is not
 * exported while the file system changes below their mounts: what they ask for meanwhile is stale where the server goes on for
 * other shares, else it waits. Paths and handles stay; files that were open are stale.
 */
export const revertShare = operation<RevertShareInput, RevertSharePorts>('share.revert', { version: 1 })
  .holds(({ shareId, volumeId, snapshotId }) => [
    `share/${shareId}`,
    `volume/${volumeId}`,
    `snapshot/${snapshotId}`,
  ])

  // Nothing to do: the request has claimed both. What is undone here is that claim; nothing was lost by then.
  .step('claimShare', {
    do: () => null,
    undo: async ({ op, input, ports }) => {
      await release(ports, input, op.control.cancelRequested ? 'available' : 'reverting_error')
    },
  })

  .step('placeImage', {
    do: async ({ op, input, ports, now }) =>
      noteShareFailure(ports, op, input, failed, now(), () => placeRevert(ports, op, input, now())),
    undo: async ({ input, ports }) => ports.copies.remove(input.copyId),
  })

  .step('makeImage', {
    do: async ({ op, input, out, ports, now }) =>
      noteShareFailure(ports, op, input, failed, now(), async () => {
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
      noteShareFailure(ports, op, input, failed, now(), async () =>
        lookAtContent(ports, op, input.copyId, out.placeImage),
      ),
  })

  .step('seal', {
    do: async ({ op, input, out, ports, now }) =>
      noteShareFailure(ports, op, input, failed, now(), async () => {
        await sealContent(ports, op, input.copyId, out.placeImage, false)
        return null
      }),
    undo: nothingToUndo,
    retry: throughRestart,
  })

  .step('endService', {
    do: async ({ op, input, ports, now }) =>
      noteShareFailure(ports, op, input, failed, now(), async () => {
        await ports.serving.take(input.shareId, async () => {
          await ensureNotExported(ports, callerOf(op), input.shareId)
          await ensureNoShareFileSystem(ports, callerOf(op), input.shareId)
          await ensureNoShareHead(ports, callerOf(op), input.shareId)
        })
        return null
      }),
    undo: ({ op, input, ports }) =>
      ports.serving.take(input.shareId, () => ensureServed(ports, callerOf(op), input.shareId)),
    retry: throughRestart,
    skipUndo: 'the share is served again in the background, as soon as its node can',
  })

  .commit('changeTruth', {
    do: async ({ op, input, out, ports, now }) => {
      await changeToReverted(ports, op, input, out.placeImage, now())
      return null
    },
    happened: async ({ input, ports }) => (await ports.volumes.get(input.volumeId)).imageId === input.copyId,
  })

  .step('startService', {
    skip: 'the share is served again in the background, as soon as its node can',
    do: async ({ op, input, ports }) => {
      const { sizeGib } = await ports.snapshots.get(input.snapshotId)
      const serve = () => ensureServed(ports, callerOf(op), input.shareId, sizeGib)
      await ports.serving.take(input.shareId, serve)
      return null
    },
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
      await clearShareFailure(ports, op)
      // A share may have been extended since the snapshot: it has its size of then.
      const { sizeGib } = await ports.snapshots.get(input.snapshotId)
      const { flexvolId } = await ports.volumes.get(input.volumeId)
      await ports.volumes.update(input.volumeId, { sizeGib })
      await ports.flexvols.update(flexvolId ?? '', { sizeBytes: sizeGib * gib })
      await release(ports, input, 'available', { sizeGib })
      return null
    },
  })

async function release(
  ports: RevertSharePorts,
  { shareId, snapshotId }: RevertShareInput,
  status: ShareStatus,
  fields: { sizeGib?: number } = {},
): Promise<void> {
  await ports.snapshots.updateIf(snapshotId, { status: ['restoring'] }, { status: 'available' })
  await ports.shares.updateIf(shareId, { status: ['reverting'] }, { ...fields, status })
}
