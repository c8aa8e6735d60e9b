import { DomainError } from '@volant/contract'
import { nothingToUndo, operation, retryable } from '@volant/saga'
import { givesWay } from '../domain/giving-way.ts'
import { powerStates } from '../domain/server.ts'
import type { Attachment, Volume } from '../domain/volume.ts'
import type { AttachmentRecords, VolumeRecords } from '../ports/records.ts'
import type { VolumeRemover } from '../ports/volumes.ts'
import type { ComputeRequest } from '../domain/placement-compute.ts'
import { callerOf } from './caller.ts'
import {
  blaming,
  ensureHeads,
  faultOf,
  finishAction,
  guestSpecOf,
  type GuestPorts,
  type ServerAction,
} from './guest.ts'
import { ensureNoHead } from './head.ts'

export interface CreateServerInput extends ServerAction {
  /** The row is there, `building`; so are its attachments, `attaching`. */
  serverId: string
  /** What was asked for by name. */
  availabilityZone?: string
  host?: string
}

export interface CreateServerPorts extends GuestPorts {
  volumes: Pick<VolumeRecords, 'get' | 'find' | 'update' | 'updateIf'>
  attachments: Pick<AttachmentRecords, 'ofServer' | 'update' | 'remove'>
  remover: VolumeRemover
  /** Chooses a host and records it with the server, so that two servers never count on the same room. */
  scheduler: {
    place(
      serverId: string,
      request: Pick<ComputeRequest, 'availabilityZone' | 'host'>,
    ): Promise<string | undefined>
  }
}

/** What may be lost of a volume's status while it is made for this server. */
const comingStatuses = ['creating', 'downloading'] as const

/** Volumes become available again; those that were to go with the server go. */
async function releaseVolumes(ports: CreateServerPorts, serverId: string): Promise<void> {
  for (const attachment of await ports.attachments.ofServer(serverId)) {
    const { volumeId } = attachment
    await ports.volumes.updateIf(volumeId, { status: ['attaching', 'reserved'] }, { status: 'available' })
    if (attachment.deleteOnTermination) await ports.remover.removeVolume(volumeId)
    await ports.attachments.remove(attachment.id)
  }
}

function unmade({ volumeId, rootOf }: Attachment, volume: Volume | undefined): string {
  const status = volume?.status ?? 'deleted'
  if (rootOf === null) return `Volume ${volumeId} did not finish being created: its status is ${status}.`
  const reason = volume?.metadata['failure'] ?? `its status is ${status}`
  return `The root disk could not be made of the image: ${reason}`
}

/** While its volumes were in use on record a move may have begun with them; from here on none does. */
async function partsGone(
  { engine }: Pick<CreateServerPorts, 'engine'>,
  attachments: readonly Attachment[],
): Promise<void> {
  let moving: string | undefined
  for (const { volumeId } of attachments) {
    const holder = await engine.holderOf(`volume/${volumeId}`)
    if (holder === undefined || !givesWay(holder.kind)) continue
    moving = volumeId
    // Where it is past its commit it ends by itself.
    await engine.cancel(holder.id).catch(() => {})
  }
  if (moving !== undefined) throw retryable(`Volume ${moving} is being relocated.`)
}

/** Makes a server: a place for it, its volumes, their heads, its guest. A failure leaves it in `ERROR`, with the reason. */
export const createServer = operation<CreateServerInput, CreateServerPorts>('server.create', { version: 1 })
  .holds((input) => [`server/${input.serverId}`])

  .step('chooseHost', {
    do: (context) =>
      blaming(context, context.input.serverId, async () => {
        const { input, ports } = context
        const { serverId, requestId: _, ...request } = input
        const host = await ports.scheduler.place(serverId, request)
        if (host === undefined) {
          throw new DomainError(
            'noCapacity',
            'No valid host was found. There are not enough hosts available.',
          )
        }
        await ports.servers.updateIf(
          serverId,
          { taskStates: ['scheduling'] },
          { taskState: 'block_device_mapping' },
        )
        return { host }
      }),
    // The last to be undone: what the request itself had claimed is given back, and the server says why.
    undo: async ({ input, ports, now }) => {
      await releaseVolumes(ports, input.serverId)
      const server = await ports.servers.find(input.serverId)
      if (server === undefined) return
      const fault = server.fault ?? faultOf(new Error('The build was cancelled.'), now())
      await ports.servers.update(input.serverId, {
        vmState: 'error',
        taskState: server.taskState === 'deleting' ? 'deleting' : null,
        powerState: powerStates.noState,
        host: null,
        fault,
      })
      await finishAction(ports, input, now(), fault.message)
    },
  })

  // Volumes that were made for this server, empty or from an image.
  .wait('volumesReady', {
    every: '250ms',
    timeout: '30m',
    until: async (context) => {
      const { input, ports } = context
      return blaming(context, input.serverId, async () => {
        for (const attachment of await ports.attachments.ofServer(input.serverId)) {
          const volume = await ports.volumes.find(attachment.volumeId)
          if (volume === undefined || volume.status.startsWith('error')) {
            throw new DomainError('conflict', unmade(attachment, volume))
          }
          if (comingStatuses.some((status) => status === volume.status)) return { done: false }
        }
        return { done: true }
      })
    },
  })

  .step('claimVolumes', {
    do: (context) =>
      blaming(context, context.input.serverId, async () => {
        const { input, ports, out } = context
        for (const attachment of await ports.attachments.ofServer(input.serverId)) {
          const { volumeId } = attachment
          await ports.volumes.updateIf(volumeId, { status: ['available'] }, { status: 'attaching' })
          const { status } = await ports.volumes.get(volumeId)
          if (status !== 'attaching' && status !== 'in-use') {
            throw new DomainError('conflict', `Volume ${volumeId} is ${status}; it must be available.`)
          }
          await ports.attachments.update(attachment.id, { host: out.chooseHost.host })
        }
        return null
      }),
    undo: nothingToUndo,
  })

  .step('openHeads', {
    do: (context) =>
      blaming(context, context.input.serverId, async () => {
        const disks = await ensureHeads(context.ports, context.op, context.input.serverId)
        await context.ports.servers.updateIf(
          context.input.serverId,
          { taskStates: ['scheduling', 'block_device_mapping'] },
          { taskState: 'spawning' },
        )
        return disks
      }),
    undo: async ({ op, input, ports }) => {
      const attachments = await ports.attachments.ofServer(input.serverId)
      for (const attachment of attachments) {
        // Where the commit did not come to its end.
        await ports.attachments.update(attachment.id, { status: 'attaching', attachedAt: null })
        await ports.volumes.updateIf(attachment.volumeId, { status: ['in-use'] }, { status: 'attaching' })
      }
      await partsGone(ports, attachments)
      for (const attachment of attachments) await ensureNoHead(ports, callerOf(op), attachment)
    },
  })

  .step('startGuest', {
    do: (context) =>
      blaming(context, context.input.serverId, async () => {
        const { op, input, out, ports } = context
        const server = await ports.servers.get(input.serverId)
        const spec = await guestSpecOf(ports, server, [...out.openHeads])
        await ports.agents.compute(out.chooseHost.host).ensureGuest(callerOf(op), spec)
        return null
      }),
    undo: async ({ op, input, out, ports }) => {
      await ports.agents.compute(out.chooseHost.host).ensureNoGuest(callerOf(op), input.serverId)
    },
  })

  // The guest runs, with its disks: there is no way back, only the deletion of the server.
  .commit('recordActive', {
    do: async ({ input, ports, now }) => {
      for (const attachment of await ports.attachments.ofServer(input.serverId)) {
        await ports.attachments.update(attachment.id, {
          status: 'attached',
          attachedAt: now().toISOString(),
        })
        await ports.volumes.updateIf(attachment.volumeId, { status: ['attaching'] }, { status: 'in-use' })
      }
      await ports.servers.update(input.serverId, {
        vmState: 'active',
        powerState: powerStates.running,
        launchedAt: now().toISOString(),
        fault: null,
      })
      return null
    },
    happened: async ({ input, ports }) => (await ports.servers.find(input.serverId))?.launchedAt !== null,
  })

  // A request to delete it may have come meanwhile: then `deleting` stays.
  .step('endTask', {
    do: async ({ input, ports, now }) => {
      await ports.servers.updateIf(input.serverId, { taskStates: ['spawning'] }, { taskState: null })
      await finishAction(ports, input, now(), null)
      return null
    },
  })
