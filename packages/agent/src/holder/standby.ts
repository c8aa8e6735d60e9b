/**
 * # A head without an image
 *
 * ```
 *     export → throttle ─▶ image          on its image
 *                 └──────▶ standby        every request fails
 * ```
 *
 * What stands below the throttle filter is exchanged under the client (`blockdev-reopen`), in milliseconds, and drained
 * before. The guest that is to come connects to the head before the fence and waits for nothing after it.
 */
import { DomainError, messageOf } from '@volant/contract'
import type { HolderStatus, ImageAccess, StandbySpec } from '@volant/contract'
import { probeAio } from '@volant/qemu/capabilities.ts'
import type { QmpClient } from '@volant/qemu/qmp.ts'
import {
  daemonNames,
  imageBlockdev,
  reconnectDelay,
  standbyBlockdev,
  throttleBlockdev,
} from '@volant/qemu/storage-daemon.ts'
import { hasOpen, waitUntilClosed, waitUntilNoWriter } from '../daemon/file-locks.ts'
import { freeNodeName, isNodeOf, readGraph } from './graph.ts'
import type { Holder } from './holder.ts'
import { checkImage } from './image-access.ts'
import { endMirror, findJob } from './mirror.ts'
import { requireNoPointCopy } from './point-copy.ts'

/** Bound for the daemon to let go of an image; after it the daemon is killed. Milliseconds. */
const letGoTimeoutMs = 1000

export async function ensureStandby(holder: Holder, spec: StandbySpec): Promise<HolderStatus> {
  const { volumeId, standby } = holder.record
  if (volumeId !== spec.volumeId || standby?.sizeBytes !== spec.sizeBytes) {
    const { image } = holder.record
    throw new DomainError(
      'conflict',
      image
        ? `Holder ${holder.id} stands on image ${image.imageId}; it must be released first.`
        : `Holder ${holder.id} is in standby for volume ${volumeId} with ${standby?.sizeBytes} bytes.`,
    )
  }
  await holder.daemon.ensureRunning()
  return holder.status()
}

/** Gives a head in standby its image, under its client. */
export async function leaveStandby(holder: Holder, image: ImageAccess): Promise<void> {
  const { standby } = holder.record
  if (standby === undefined) return
  const { sizeBytes, releasedFrom } = standby
  if (releasedFrom !== undefined && releasedFrom !== image.imageId) {
    throw new DomainError(
      'conflict',
      `Holder ${holder.id} was released from image ${releasedFrom}, which its client knows; it cannot go on on ` +
        `${image.imageId}.`,
    )
  }
  if (sizeBytes !== image.sizeBytes) {
    throw new DomainError(
      'conflict',
      `Holder ${holder.id} serves ${sizeBytes} bytes, and image ${image.imageId} has ${image.sizeBytes}.`,
    )
  }
  // On disk before the image is opened: whoever ends this holder must know what to wait for.
  holder.setImageInMemory(image)
  const saved = holder.save({})
  if (!holder.daemon.isAlive) {
    await saved
    await holder.daemon.ensureRunning()
    return
  }
  try {
    await standOn(holder, image, saved)
  } catch (error) {
    if (!(await isOpen(holder, image))) {
      holder.setStandbyInMemory(standby)
      await holder.save({})
    }
    throw error
  }
}

/** Opens the image and puts it under the throttle filter; a file not before `recorded`. */
async function standOn(holder: Holder, image: ImageAccess, recorded: Promise<void>): Promise<void> {
  const qmp = await holder.daemon.ensureRunning()
  const { aio } = await probeAio()
  const tls = image.kind === 'nbd' ? holder.ensureTlsCredentials() : undefined
  const [{ nodeNames }] = await Promise.all([readGraph(qmp), tls])
  const nodeName = freeNodeName(image.imageId, nodeNames)
  const blockdev = imageBlockdev(image, { nodeName, aio, reconnectDelaySeconds: reconnectDelay.client })
  const ready =
    image.kind === 'file'
      ? Promise.all([recorded, checkImage(image, holder.context.network)])
      : Promise.resolve()
  const [record, node] = await Promise.allSettled([
    recorded,
    ready.then(() => qmp.execute('blockdev-add', blockdev)),
  ])
  if (node.status === 'rejected') throw node.reason
  try {
    if (record.status === 'rejected') throw record.reason
    // When it has the image open itself, with nothing on it: of two that open it at once one sees the other, at the least.
    if (image.kind === 'file') await waitUntilNoWriter(image.path, [holder.daemon.pid])
    else await requireNodeSize(qmp, nodeName, image)
    await qmp.execute('blockdev-reopen', { options: [throttleBlockdev(nodeName)] })
  } catch (error) {
    await holder.closeNode(nodeName)
    throw error
  }
}

/**
 * That it is the right image QEMU has seen to: a server with that name in its certificate has an export of that name,
 * which nobody could guess. A connection of our own, as at a daemon's start, would double the client's wait.
 */
async function requireNodeSize(qmp: QmpClient, nodeName: string, image: ImageAccess): Promise<void> {
  const nodes = (await qmp.execute('query-named-block-nodes', { flat: true })) as NamedNode[]
  const found = nodes.find((node) => node['node-name'] === nodeName)?.image['virtual-size']
  if (found === image.sizeBytes) return
  throw new DomainError(
    'conflict',
    `The export found is not that of image ${image.imageId}: it has ${found} bytes instead of ${image.sizeBytes}.`,
  )
}

interface NamedNode {
  'node-name': string
  image: { 'virtual-size': number }
}

/** Whether the daemon may have a node of the image open. */
async function isOpen(holder: Holder, image: ImageAccess): Promise<boolean> {
  if (!holder.daemon.isAlive) return false
  const { nodeNames } = await readGraph(holder.qmp)
  return nodeNames.some((name) => isNodeOf(name, image.imageId))
}

/**
 * The fence of a local image. The record is written after it and before the return: until then nobody was told that
 * the image is free, so a daemon that dies meanwhile may as well come up on it again.
 */
export async function releaseHolder(holder: Holder): Promise<void> {
  const { serves, cutover, mirror, image } = holder.record
  if (!serves) throw new DomainError('conflict', `Holder ${holder.id} serves nobody; it can only be stopped.`)
  if (cutover) throw new DomainError('conflict', `Holder ${holder.id} is at the cutover of ${cutover.jobId}.`)
  if (mirror) await endLost(holder, mirror.jobId)
  await requireNoPointCopy(holder)
  if (image === null) {
    await holder.daemon.ensureRunning()
    return
  }
  holder.setStandbyInMemory({ sizeBytes: image.sizeBytes, releasedFrom: image.imageId })
  try {
    await letGo(holder, image)
    await holder.save({})
  } catch (error) {
    holder.setImageInMemory(image)
    throw error
  }
}

/** A mirror whose job died with its daemon is over; one that has a job is not. */
async function endLost(holder: Holder, jobId: string): Promise<void> {
  if (holder.daemon.isAlive && (await findJob(holder, jobId))) {
    throw new DomainError('conflict', `Holder ${holder.id} copies for ${jobId}; end that first.`)
  }
  if (holder.daemon.isAlive) await endMirror(holder, jobId)
  else await holder.forget('mirror')
}

async function letGo(holder: Holder, image: ImageAccess): Promise<void> {
  const { daemon, context } = holder
  // A node of another machine's image may be dead, and is not closed then before its patience is over.
  if (image.kind === 'file' && daemon.isAlive) {
    try {
      await exchange(holder, image)
      return
    } catch (error) {
      const fields = { holderId: holder.id, reason: messageOf(error) }
      context.log.warn(fields, 'storage daemon does not let go of its image; killed')
    }
  }
  try {
    await daemon.replace(0)
  } catch (error) {
    if (daemon.isAlive) throw error
    // Dead it has nothing open; its supervisor goes on trying to have it back in standby.
    context.log.warn(
      { holderId: holder.id, reason: messageOf(error) },
      'storage daemon is not back in standby yet',
    )
  }
  // Requests that were given to the kernel may outlive their process.
  if (image.kind === 'file') await waitUntilClosed(image.path)
}

/** Its requests are drained and flushed before, or it fails. */
async function exchange(holder: Holder, image: ImageAccess): Promise<void> {
  const { qmp } = holder
  const { nodeNames } = await readGraph(qmp, letGoTimeoutMs)
  if (!nodeNames.includes(daemonNames.standbyNode)) {
    await qmp.execute('blockdev-add', standbyBlockdev(image.sizeBytes), letGoTimeoutMs)
  }
  const options = [throttleBlockdev(daemonNames.standbyNode)]
  await qmp.execute('blockdev-reopen', { options }, letGoTimeoutMs)
  for (const name of nodeNames) {
    if (!isNodeOf(name, image.imageId)) continue
    await qmp.execute('blockdev-del', { 'node-name': name }, letGoTimeoutMs)
  }
  if (image.kind === 'file' && hasOpen(holder.daemon.pid, image.path)) {
    throw new DomainError('unavailable', `${image.path} is still open in process ${holder.daemon.pid}.`)
  }
}
