import { operation } from '@volant/saga'
import type { Agents } from '../ports/agents.ts'
import type { AttachmentRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { isHeadFenced, unlessGivenUp } from './given-up.ts'
import { ensureHead, ensureNoHead, type HeadPorts } from './head.ts'

export interface DetachVolumeInput {
  /** Its status and the volume's are `detaching`. */
  attachmentId: string
  volumeId: string
  serverId: string
}

export interface DetachVolumePorts extends HeadPorts {
  volumes: Pick<VolumeRecords, 'get' | 'updateIf'>
  attachments: Pick<AttachmentRecords, 'find' | 'get' | 'update' | 'remove'>
  agents: Pick<Agents, 'holders' | 'compute'>
}

/** How long a guest has to give the disk back. Milliseconds. */
const unplugTimeoutMs = 20_000

/** Takes a volume from its server. A guest that does not give the disk back keeps it, and the volume stays in use. */
export const detachVolume = operation<DetachVolumeInput, DetachVolumePorts>('volume.detach', { version: 1 })
  .holds((input) => [`volume/${input.volumeId}`])

  .step('claimVolume', {
    do: () => null,
    undo: async ({ input, ports }) => {
      await ports.attachments.update(input.attachmentId, { status: 'attached' })
      await ports.volumes.updateIf(input.volumeId, { status: ['detaching'] }, { status: 'in-use' })
    },
  })

  .step('unplugDisk', {
    do: async ({ op, input, ports }) => {
      const { host } = await ports.attachments.get(input.attachmentId)
      if (host === null) return null
      const compute = ports.agents.compute(host)
      const guest = await compute.guestStatus(input.serverId)
      if (guest.diskAttachmentIds.includes(input.attachmentId)) {
        await compute.ensureNoDisk(callerOf(op), input.serverId, input.attachmentId, unplugTimeoutMs)
      }
      return null
    },
    undo: async ({ op, input, ports }) => {
      const attachment = await ports.attachments.get(input.attachmentId)
      if (attachment.host === null) return
      const compute = ports.agents.compute(attachment.host)
      await unlessGivenUp(isHeadFenced(ports, attachment.headId), async () => {
        const guest = await compute.guestStatus(input.serverId)
        if (guest.state === 'absent' || guest.state === 'stopped') return
        const disk = await ensureHead(ports, callerOf(op), attachment)
        await compute.ensureDisk(callerOf(op), input.serverId, disk)
      })
    },
    retry: { attempts: 2, backoff: '1s' },
  })

  // Once the head is gone the guest can't have the disk back without being attached anew.
  .commit('closeHead', {
    do: async ({ op, input, ports }) => {
      const attachment = await ports.attachments.find(input.attachmentId)
      if (attachment !== undefined) await ensureNoHead(ports, callerOf(op), attachment)
      return null
    },
    happened: async ({ input, ports }) => {
      const attachment = await ports.attachments.find(input.attachmentId)
      if (attachment === undefined || attachment.host === null) return true
      const holders = ports.agents.holders(ports.places.machineOfHost(attachment.host))
      return (await holders.holderStatus(attachment.headId)) === undefined
    },
    attempts: 5,
    backoff: '1s',
  })

  .step('recordDetached', {
    do: async ({ op, input, ports }) => {
      // Again: a crash may have come between the head's end and that of its exports.
      const attachment = await ports.attachments.find(input.attachmentId)
      if (attachment !== undefined) await ensureNoHead(ports, callerOf(op), attachment)
      await ports.attachments.remove(input.attachmentId)
      await ports.volumes.updateIf(
        input.volumeId,
        { status: ['detaching', 'in-use'] },
        { status: 'available' },
      )
      return null
    },
  })
