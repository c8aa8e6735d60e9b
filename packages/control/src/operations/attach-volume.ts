import { operation } from '@volant/saga'
import type { Agents } from '../ports/agents.ts'
import type { AttachmentRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { isHeadFenced, unlessGivenUp } from './given-up.ts'
import { ensureHead, ensureNoHead, type HeadPorts } from './head.ts'
import { throughRestart } from './patience.ts'

export interface AttachVolumeInput {
  /** The row is there, with status `attaching` and its host; the volume's status is `attaching`. */
  attachmentId: string
  volumeId: string
  serverId: string
  host: string
}

export interface AttachVolumePorts extends HeadPorts {
  volumes: Pick<VolumeRecords, 'get' | 'update' | 'updateIf'>
  attachments: Pick<AttachmentRecords, 'find' | 'get' | 'update' | 'remove'>
  agents: Pick<Agents, 'holders' | 'compute'>
}

/** Gives a server access to a volume: a head beside it, then a disk in the running guest. */
export const attachVolume = operation<AttachVolumeInput, AttachVolumePorts>('volume.attach', { version: 1 })
  .holds((input) => [`volume/${input.volumeId}`])

  // Nothing to do: the request has claimed the volume. What is undone here is that claim.
  .step('claimVolume', {
    do: () => null,
    undo: async ({ input, ports }) => {
      await ports.attachments.remove(input.attachmentId)
      await ports.volumes.updateIf(
        input.volumeId,
        { status: ['attaching', 'reserved'] },
        { status: 'available' },
      )
    },
  })

  .step('openHead', {
    do: async ({ op, input, ports }) =>
      ensureHead(ports, callerOf(op), await ports.attachments.get(input.attachmentId)),
    undo: async ({ op, input, ports }) => {
      const attachment = await ports.attachments.find(input.attachmentId)
      if (attachment !== undefined) await ensureNoHead(ports, callerOf(op), attachment)
    },
    retry: throughRestart,
  })

  // A server that is not running gets the disk when it starts.
  .step('plugDisk', {
    do: async ({ op, input, out, ports }) => {
      const compute = ports.agents.compute(input.host)
      const guest = await compute.guestStatus(input.serverId)
      if (guest.state === 'absent' || guest.state === 'stopped') return { plugged: false }
      await compute.ensureDisk(callerOf(op), input.serverId, out.openHead)
      return { plugged: true }
    },
    undo: async ({ op, input, ports }) => {
      const { attachmentId, serverId, host } = input
      const headId = (await ports.attachments.find(attachmentId))?.headId ?? attachmentId
      await unlessGivenUp(isHeadFenced(ports, headId), async () => {
        const compute = ports.agents.compute(host)
        const guest = await compute.guestStatus(serverId)
        if (!guest.diskAttachmentIds.includes(attachmentId)) return
        await compute.ensureNoDisk(callerOf(op), serverId, attachmentId, 10_000)
      })
    },
    retry: throughRestart,
  })

  .step('recordAttached', {
    do: async ({ input, ports, now }) => {
      await ports.attachments.update(input.attachmentId, {
        status: 'attached',
        attachedAt: now().toISOString(),
      })
      await ports.volumes.update(input.volumeId, { status: 'in-use' })
      return null
    },
    undo: async ({ input, ports }) => {
      await ports.attachments.update(input.attachmentId, { status: 'attaching', attachedAt: null })
      await ports.volumes.updateIf(input.volumeId, { status: ['in-use'] }, { status: 'attaching' })
    },
  })
