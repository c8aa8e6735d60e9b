import { DomainError } from '@volant/contract'
import { operation } from '@volant/saga'
import { placeKey } from '../domain/aggregate-space.ts'
import { maxOverSubscriptionRatio } from '../domain/placement.ts'
import { shareMessageEvents } from '../domain/share-message.ts'
import type { Share } from '../domain/share.ts'
import { gib, placeForNew } from '../domain/volume.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { AttachmentRecords, CopyRecords, FlexVolRecords, VolumeRecords } from '../ports/records.ts'
import type { ShareLists } from '../ports/share-records.ts'
import type { ShareRecords } from '../ports/shares.ts'
import { callerOf } from './caller.ts'
import { throughRestart } from './patience.ts'
import { clearShareFailure, noteShareFailure, type ShareFailureNotes } from './share-failure.ts'
import { requireShareAttachment } from './share-service.ts'

export interface ExtendShareInput {
  /** Its status is `extending`. */
  shareId: string
  projectId: string
  requestId: string
  oldSizeGib: number
  newSizeGib: number
}

export interface ExtendSharePorts extends ShareFailureNotes {
  shares: Pick<ShareRecords, 'get' | 'updateIf'>
  shareLists: Pick<ShareLists, 'allocatedByAggregate'>
  volumes: Pick<VolumeRecords, 'get' | 'update'>
  copies: Pick<CopyRecords, 'get' | 'reservedAt'>
  flexvols: Pick<FlexVolRecords, 'get' | 'update'>
  attachments: Pick<AttachmentRecords, 'ofVolume'>
  agents: Pick<Agents, 'shares'>
  backend: Pick<Backend, 'spaceAt'>
}

const failed = shareMessageEvents.extendFailed

/**
 * Grows a share's file system within its image, while clients use it; a move of the image goes on beside it, since the
 * image keeps its size.
 */
export const extendShare = operation<ExtendShareInput, ExtendSharePorts>('share.extend', { version: 1 })
  .holds(({ shareId }) => [`share/${shareId}`])

  .step('checkRoom', {
    do: async ({ op, input, ports, now }) =>
      noteShareFailure(ports, op, input, failed, now(), async () => {
        await requireRoom(ports, input)
        // A node that is down is found out before anything has grown.
        await fileSystemOf(ports, await ports.shares.get(input.shareId))
        return null
      }),
    undo: async ({ op, input, ports }) => {
      const status = op.control.cancelRequested ? 'available' : 'extending_error'
      await ports.shares.updateIf(input.shareId, { status: ['extending'] }, { status })
    },
    retry: throughRestart,
  })

  // A file system never shrinks again.
  .commit('growFileSystem', {
    do: async ({ op, input, ports, now }) =>
      noteShareFailure(ports, op, input, failed, now(), async () => {
        const { host } = await requireShareAttachment(ports, await ports.shares.get(input.shareId))
        const agent = ports.agents.shares(host)
        await agent.ensureFileSystemSize(callerOf(op), input.shareId, input.newSizeGib * gib)
        return null
      }),
    happened: async ({ input, ports }) =>
      (await fileSystemOf(ports, await ports.shares.get(input.shareId))).sizeBytes > input.oldSizeGib * gib,
    ...throughRestart,
  })

  .step('record', {
    do: async ({ op, input, ports }) => {
      const { newSizeGib: sizeGib } = input
      const { volumeId, flexvolId } = await ports.shares.get(input.shareId)
      await ports.volumes.update(volumeId ?? '', { sizeGib })
      await ports.flexvols.update(flexvolId ?? '', { sizeBytes: sizeGib * gib })
      const extended = { sizeGib, status: 'available' as const }
      await ports.shares.updateIf(input.shareId, { status: ['extending'] }, extended)
      await clearShareFailure(ports, op)
      return null
    },
  })

async function fileSystemOf(ports: ExtendSharePorts, share: Share) {
  const { host } = await requireShareAttachment(ports, share)
  const { fileSystem } = await ports.agents.shares(host).shareStatus(share.id)
  if (fileSystem !== undefined) return fileSystem
  throw new DomainError('unavailable', `Share ${share.id} has no file system on node ${host} now.`)
}

async function requireRoom(ports: ExtendSharePorts, input: ExtendShareInput): Promise<void> {
  const { imageId, flexvolId } = await ports.volumes.get(
    (await ports.shares.get(input.shareId)).volumeId ?? '',
  )
  const { sizeBytes } = await ports.copies.get(imageId ?? '')
  if (input.newSizeGib * gib > sizeBytes) {
    throw new DomainError(
      'conflict',
      `Share ${input.shareId} can have ${sizeBytes / gib} GiB at most, which is the size of its image. Make a new, ` +
        'larger share of a snapshot of it.',
    )
  }
  const place = placeForNew(await ports.flexvols.get(flexvolId ?? ''))
  const { totalBytes, freeBytes } = await ports.backend.spaceAt(place)
  const free = Math.max(0, freeBytes - (await ports.copies.reservedAt(place)))
  const allocated = (await ports.shareLists.allocatedByAggregate()).get(placeKey(place)) ?? 0
  const virtual = Math.min(
    free * maxOverSubscriptionRatio,
    totalBytes * maxOverSubscriptionRatio - allocated * gib,
  )
  const growth = (input.newSizeGib - input.oldSizeGib) * gib
  if (growth <= virtual) return
  throw new DomainError(
    'noCapacity',
    `Aggregate ${place.aggregate} cannot promise ${growth / gib} GiB more: extend by less, or migrate the share.`,
  )
}
