import { DomainError, messageOf, type GuestDisk, type GuestSpec } from '@volant/contract'
import { givesWay } from '../domain/giving-way.ts'
import { powerStates, type Fault, type Server } from '../domain/server.ts'
import type { Attachment } from '../domain/volume.ts'
import type { Agents } from '../ports/agents.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords } from '../ports/records.ts'
import type { InstanceActionRecords, ServerRecords } from '../ports/servers.ts'
import { callerOf } from './caller.ts'
import { ensureHead, type HeadPorts } from './head.ts'

/** What every operation on a server may use. */
export interface GuestPorts extends HeadPorts {
  servers: Pick<ServerRecords, 'find' | 'get' | 'update' | 'updateIf'>
  attachments: Pick<AttachmentRecords, 'ofServer' | 'update'>
  actions: Pick<InstanceActionRecords, 'finish'>
  /** Files of the image service, by the image's id. */
  images: { filePath(imageId: string): Promise<string> }
  agents: Pick<Agents, 'holders' | 'compute'>
  /** Other operations, on the same volumes. */
  engine: Pick<OperationEngine, 'holderOf' | 'cancel'>
}

/** A part of the input of every operation on a server: whose row in `os-instance-actions` it ends. */
export interface ServerAction {
  serverId: string
  requestId: string
}

interface Op {
  id: string
  fence: number
}

/** The compute host's agent; a server without a host is in no state for what was asked. */
export function computeOf(ports: Pick<GuestPorts, 'agents'>, server: Server) {
  if (server.host === null) {
    throw new DomainError('conflict', `Instance ${server.id} has no compute host.`)
  }
  return ports.agents.compute(server.host)
}

/** Starts the server's heads, then its guest with all of its disks; finds running what runs. */
export async function ensureGuestRuns(ports: GuestPorts, op: Op, server: Server): Promise<void> {
  const disks = await ensureHeads(ports, op, server.id)
  await computeOf(ports, server).ensureGuest(callerOf(op), await guestSpecOf(ports, server, disks))
}

/** The heads of all attachments, in the order of the guest's disks. */
export async function ensureHeads(ports: GuestPorts, op: Op, serverId: string): Promise<GuestDisk[]> {
  const disks: GuestDisk[] = []
  for (const attachment of inDeviceOrder(await ports.attachments.ofServer(serverId))) {
    disks.push(await runningHead(ports, op, attachment))
  }
  return disks
}

/** In the order of the guest's disks. */
export const inDeviceOrder = (attachments: readonly Attachment[]): Attachment[] =>
  attachments.toSorted(
    (a, b) =>
      (a.bootIndex ?? Infinity) - (b.bootIndex ?? Infinity) ||
      byDevice(a.mountpoint ?? '', b.mountpoint ?? ''),
  )

/**
 * A head that runs is left as it is: a migration may be under way in it, and only that knows on which image the
 * head is to stand. For the same reason none is started while another operation works on the volume.
 */
async function runningHead(ports: GuestPorts, op: Op, attachment: Attachment): Promise<GuestDisk> {
  const { id, headId, volumeId, host } = attachment
  if (host !== null) {
    const head = await ports.agents.holders(ports.places.machineOfHost(host)).holderStatus(headId)
    if (head?.socketPath !== undefined && head.exportName !== undefined) {
      const { socketPath, exportName } = head
      return { attachmentId: id, volumeId, socketPath, exportName, boot: attachment.bootIndex === 0 }
    }
  }
  const other = await ports.engine.holderOf(`volume/${volumeId}`)
  if (other !== undefined && other.id !== op.id) {
    // Where it is past its commit it ends by itself.
    if (givesWay(other.kind)) await ports.engine.cancel(other.id).catch(() => {})
    throw new DomainError(
      'unavailable',
      `The head of volume ${volumeId} does not run, and operation ${other.id} (${other.kind}) is working on it.`,
    )
  }
  return ensureHead(ports, callerOf(op), attachment)
}

/** `/dev/vdz` before `/dev/vdaa`. */
const byDevice = (a: string, b: string): number => a.length - b.length || (a < b ? -1 : a > b ? 1 : 0)

export async function guestSpecOf(
  ports: Pick<GuestPorts, 'images'>,
  server: Server,
  disks: GuestDisk[],
): Promise<GuestSpec> {
  const { rootDisk, commandLine } = server.boot
  const kernel = server.kernelId === null ? undefined : await ports.images.filePath(server.kernelId)
  const initrd = server.ramdiskId === null ? undefined : await ports.images.filePath(server.ramdiskId)
  return {
    serverId: server.id,
    name: server.name,
    vcpus: server.flavor.vcpus,
    memoryMiB: server.flavor.memoryMib,
    ...(kernel === undefined
      ? {}
      : {
          kernel: {
            path: kernel,
            ...(initrd === undefined ? {} : { initrdPath: initrd }),
            commandLine: commandLine ?? '',
          },
        }),
    ...(rootDisk === undefined || server.imageId === null
      ? {}
      : {
          rootDisk: {
            sourcePath: await ports.images.filePath(server.imageId),
            sourceFormat: rootDisk.format,
            sizeBytes: rootDisk.sizeBytes,
          },
        }),
    disks,
    nics: server.nics,
  }
}

export const faultOf = (error: unknown, now: Date): Fault => ({
  code: 500,
  message: messageOf(error).slice(0, 255),
  details: null,
  created: now.toISOString(),
})

/** Runs a step, and where it fails keeps the reason with the server, where `nova show` finds it. */
export async function blaming<T>(
  context: { ports: Pick<GuestPorts, 'servers'>; now(): Date; signal: AbortSignal },
  serverId: string,
  step: () => Promise<T>,
): Promise<T> {
  try {
    return await step()
  } catch (error) {
    if (!context.signal.aborted) {
      await context.ports.servers.update(serverId, { fault: faultOf(error, context.now()) })
    }
    throw error
  }
}

/** The undo of an action that changes no more than the guest's power: the server shows what the guest is in. */
export async function recordUnchanged(ports: GuestPorts, action: ServerAction, now: Date): Promise<void> {
  const { serverId } = action
  const server = await ports.servers.find(serverId)
  if (server === undefined) return
  await ports.servers.updateIf(serverId, { taskStates: taskStatesOfActions }, { taskState: null })
  await finishAction(ports, action, now, server.fault?.message ?? 'The operation failed.')
}

const taskStatesOfActions = [
  'powering-off',
  'powering-on',
  'rebooting',
  'rebooting_hard',
  'pausing',
  'unpausing',
] as const

/** Ends the action in `os-instance-actions`; `failure` null: it went well. */
export async function finishAction(
  ports: Pick<GuestPorts, 'actions'>,
  { serverId, requestId }: ServerAction,
  now: Date,
  failure: string | null,
): Promise<void> {
  await ports.actions.finish(
    { serverId, requestId },
    {
      finishedAt: now.toISOString(),
      result: failure === null ? 'Success' : 'Error',
      message: failure,
    },
  )
}

/** Records how an action ended. A `deleting` that was asked for meanwhile stays. */
export async function recordDone(
  ports: GuestPorts,
  action: ServerAction,
  now: Date,
  fields: Pick<Server, 'vmState' | 'powerState'>,
): Promise<void> {
  const { serverId } = action
  await ports.servers.update(serverId, { ...fields, fault: null })
  await ports.servers.updateIf(serverId, { taskStates: taskStatesOfActions }, { taskState: null })
  await finishAction(ports, action, now, null)
}

export const runningFields = { vmState: 'active', powerState: powerStates.running } as const
