import { DomainError } from '@volant/contract'
import { operation } from '@volant/saga'
import { virtualFreeBytes } from '../domain/placement.ts'
import { messageEvents } from '../domain/volume-message.ts'
import { gib, type Attachment, type Copy, type VolumeStatus } from '../domain/volume.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { BlockQuotaRecords, Pools } from '../ports/block-storage.ts'
import type { Places } from '../ports/places.ts'
import type { AttachmentRecords, CopyRecords, VolumeRecords } from '../ports/records.ts'
import type { InstanceActionRecords } from '../ports/servers.ts'
import { callerOf } from './caller.ts'
import { clearFailure, noteFailure, type FailureNotes } from './failure-note.ts'

export interface ExtendVolumeInput {
  /** Its status is `extending`, and the growth is reserved in the quota. */
  volumeId: string
  projectId: string
  /** Who asked for it. */
  userId: string
  requestId: string
  oldSizeGib: number
  newSizeGib: number
  /** `available` or `in-use`: what it goes back to. */
  previousStatus: VolumeStatus
}

export interface ExtendVolumePorts extends FailureNotes {
  volumes: Pick<VolumeRecords, 'get'>
  copies: Pick<CopyRecords, 'get'>
  attachments: Pick<AttachmentRecords, 'ofVolume'>
  quotas: Pick<BlockQuotaRecords, 'finishExtend'>
  pools: Pools
  backend: Pick<Backend, 'ensureImageSize' | 'ensureServedSize' | 'imageInfo'>
  agents: Pick<Agents, 'holders' | 'compute'>
  places: Places
  /** The server's history tells of its disk's growth, as Nova's does. */
  instanceActions: Pick<InstanceActionRecords, 'create'>
}

/** Grows a volume: its image, then the guest's disk where a server has it, then the record. */
export const extendVolume = operation<ExtendVolumeInput, ExtendVolumePorts>('volume.extend', { version: 1 })
  .holds((input) => [`volume/${input.volumeId}`])

  .step('checkRoom', {
    do: async ({ op, input, ports, now }) =>
      noteFailure(ports, op, input, messageEvents.extendFailed, now(), async () => {
        const copy = await truthOf(ports, input.volumeId)
        const pool = (await ports.pools.candidates()).find((p) => p.flexvolId === copy.flexvolId)
        const growth = (input.newSizeGib - input.oldSizeGib) * gib
        if (
          pool !== undefined &&
          copy.sizeBytes < input.newSizeGib * gib &&
          growth > virtualFreeBytes(pool)
        ) {
          throw new DomainError(
            'noCapacity',
            `Pool ${pool.pool} cannot promise ${growth / gib} GiB more: extend by less, or migrate the volume.`,
          )
        }
        // A host that is down is found out before anything has grown.
        const attachment = await attachmentOf(ports, input.volumeId)
        if (attachment !== undefined) await ports.agents.compute(attachment.host).listGuests()
        return null
      }),
    undo: async ({ input, ports, now }) => {
      await ports.quotas.finishExtend(input.volumeId, {
        status: input.previousStatus,
        at: now().toISOString(),
      })
    },
  })

  // An image never shrinks again.
  .commit('growImage', {
    do: async ({ op, input, ports, now }) =>
      noteFailure(ports, op, input, messageEvents.extendFailed, now(), async () => {
        await growImage(ports, op, input)
        return null
      }),
    happened: async ({ input, ports }) => {
      const info = await ports.backend.imageInfo(await truthOf(ports, input.volumeId))
      return info !== undefined && info.sizeBytes >= input.newSizeGib * gib
    },
    backoff: '1s',
  })

  // A crash may have come between the growth of the file and the holder's notice of it: once more, from the start.
  .step('growDisk', {
    skip: 'the image has grown; the guest sees the new size after its next start',
    do: async ({ op, input, ports, now }) => {
      await growImage(ports, op, input)
      const attachment = await attachmentOf(ports, input.volumeId)
      if (attachment === undefined) return null
      const compute = ports.agents.compute(attachment.host)
      const guest = await compute.guestStatus(attachment.serverId)
      if (guest.diskAttachmentIds.includes(attachment.id)) {
        const size = input.newSizeGib * gib
        await compute.ensureDiskSize(callerOf(op), attachment.serverId, attachment.id, size)
      }
      await ports.instanceActions.create({
        requestId: input.requestId,
        serverId: attachment.serverId,
        action: 'extend_volume',
        userId: input.userId,
        projectId: input.projectId,
        operationId: op.id,
        startedAt: op.createdAt,
        finishedAt: now().toISOString(),
        result: 'Success',
        message: null,
        host: attachment.host,
      })
      return null
    },
  })

  .step('record', {
    do: async ({ op, input, ports, now }) => {
      await clearFailure(ports, op)
      await ports.quotas.finishExtend(input.volumeId, {
        sizeGib: input.newSizeGib,
        status: input.previousStatus,
        at: now().toISOString(),
      })
      return null
    },
  })

async function truthOf(ports: ExtendVolumePorts, volumeId: string): Promise<Copy> {
  const { imageId } = await ports.volumes.get(volumeId)
  if (imageId === null) throw new DomainError('conflict', `Volume ${volumeId} has no data yet.`)
  return ports.copies.get(imageId)
}

type HeldAttachment = Attachment & { host: string; serverId: string }

/** The attachment whose head has the image open, if any. */
async function attachmentOf(ports: ExtendVolumePorts, volumeId: string): Promise<HeldAttachment | undefined> {
  const attachments = await ports.attachments.ofVolume(volumeId)
  return attachments.find((a): a is HeldAttachment => a.host !== null && a.serverId !== null)
}

/**
 * Where a head has the image open it grows with the head, which alone knows what it told its client. A head
 * that reaches the image through an export needs the image, and the export, grown before.
 */
async function growImage(
  ports: ExtendVolumePorts,
  op: { id: string; fence: number },
  input: ExtendVolumeInput,
): Promise<void> {
  const size = input.newSizeGib * gib
  const copy = await truthOf(ports, input.volumeId)
  const attachment = await attachmentOf(ports, input.volumeId)
  const machine = attachment === undefined ? undefined : ports.places.machineOfHost(attachment.host)
  const holders = machine === undefined ? undefined : ports.agents.holders(machine)
  const head = attachment === undefined ? undefined : await holders?.holderStatus(attachment.headId)
  if (attachment === undefined || machine === undefined || holders === undefined || head === undefined) {
    await ports.backend.ensureImageSize(callerOf(op), copy, size)
    return
  }
  await ports.backend.ensureServedSize(callerOf(op), copy, machine, attachment.headId, size)
  await holders.ensureSize(callerOf(op), attachment.headId, size)
}
