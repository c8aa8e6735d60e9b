import type { GuestDisk } from '@volant/contract'
import { DomainError } from '@volant/contract'
import { QmpError, QmpTimeout } from '@volant/qemu'
import type { QmpClient } from '@volant/qemu'
import { setTimeout as sleep } from 'node:timers/promises'
import { diskParts } from './command-line.ts'
import { diskNames } from './names.ts'

/** A guest that still boots misses the request to give a disk back, so it is asked again. */
const askAgainMs = 3000
/** The NBD client learns of a new size when it has connected to the re-offered export. */
const sizePatienceMs = 15_000
const pollMs = 100

const namesIn = async (qmp: QmpClient, path: string): Promise<Set<string>> => {
  const properties = (await qmp.execute('qom-list', { path })) as { name: string }[]
  return new Set(properties.map(({ name }) => name))
}

/** Which of these attachments are devices of the guest now. */
export const pluggedIn = async (qmp: QmpClient, attachmentIds: string[]): Promise<string[]> => {
  const devices = await namesIn(qmp, '/machine/peripheral')
  return attachmentIds.filter((id) => devices.has(diskNames(id).device))
}

interface NodeInfo {
  'node-name': string
  image?: { 'virtual-size'?: number }
}

const nodeOf = async (qmp: QmpClient, name: string): Promise<NodeInfo | undefined> => {
  const nodes = (await qmp.execute('query-named-block-nodes', { flat: true })) as NodeInfo[]
  return nodes.find((node) => node['node-name'] === name)
}

/** Closes the connection and ends the thread of a disk whose device is gone. */
const removeBackend = async (qmp: QmpClient, attachmentId: string): Promise<void> => {
  const names = diskNames(attachmentId)
  if ((await nodeOf(qmp, names.node)) !== undefined) {
    await qmp.execute('blockdev-del', { 'node-name': names.node })
  }
  if ((await namesIn(qmp, '/objects')).has(names.iothread)) {
    await qmp.execute('object-del', { id: names.iothread })
  }
}

/**
 * Plugs a disk in; what an interrupted attempt left is made use of. Throws `unavailable` where QEMU cannot open
 * the export.
 */
export const plugIn = async (
  qmp: QmpClient,
  disk: GuestDisk,
  reconnectDelaySeconds: number,
): Promise<void> => {
  const names = diskNames(disk.attachmentId)
  const parts = diskParts(disk, reconnectDelaySeconds)
  if ((await pluggedIn(qmp, [disk.attachmentId])).length > 0) return
  try {
    if (!(await namesIn(qmp, '/objects')).has(names.iothread)) await qmp.execute('object-add', parts.iothread)
    if ((await nodeOf(qmp, names.node)) === undefined) await qmp.execute('blockdev-add', parts.blockdev)
    await qmp.execute('device_add', parts.device)
  } catch (error) {
    await removeBackend(qmp, disk.attachmentId).catch(() => undefined)
    if (!(error instanceof QmpError)) throw error
    throw new DomainError('unavailable', `Disk ${disk.attachmentId} could not be plugged in: ${error.desc}`, {
      cause: error,
    })
  }
}

/** A second request while the first is open is refused, which says that the guest has been asked. */
const askForDevice = async (qmp: QmpClient, device: string): Promise<void> => {
  try {
    await qmp.execute('device_del', { id: device })
  } catch (error) {
    if (!(error instanceof QmpError)) throw error
    if (error.errorClass !== 'DeviceNotFound' && !/unplug/.test(error.desc)) throw error
  }
}

/**
 * Asks the guest to give the disk back, waits for DEVICE_DELETED and closes the disk's connection. Throws
 * `conflict` where the guest does not within `timeoutMs`; it may still do so later.
 */
export const unplug = async (qmp: QmpClient, attachmentId: string, timeoutMs: number): Promise<void> => {
  const { device } = diskNames(attachmentId)
  const end = performance.now() + timeoutMs
  while ((await pluggedIn(qmp, [attachmentId])).length > 0) {
    const left = end - performance.now()
    if (left <= 0) {
      throw new DomainError(
        'conflict',
        `The guest did not give disk ${attachmentId} back within ${timeoutMs} ms; it may be in use, or the guest may still be booting.`,
      )
    }
    const isOurs = (event: { data: Record<string, unknown> }): boolean => event.data.device === device
    const deleted = qmp.expect('DEVICE_DELETED', isOurs, Math.min(left, askAgainMs))
    try {
      await askForDevice(qmp, device)
      await deleted.event
    } catch (error) {
      if (!(error instanceof QmpTimeout)) throw error
    } finally {
      deleted.cancel()
    }
  }
  await removeBackend(qmp, attachmentId)
}

/**
 * Gives the guest the disk's new size. The head must offer it already; QEMU sees it when its connection has come
 * back, so it is tried for a while. Throws `unavailable` where it never does.
 */
export const resizeDisk = async (qmp: QmpClient, attachmentId: string, sizeBytes: number): Promise<void> => {
  const { node } = diskNames(attachmentId)
  const end = performance.now() + sizePatienceMs
  for (;;) {
    const present = await nodeOf(qmp, node)
    if (present === undefined) throw new DomainError('notFound', `The guest has no disk ${attachmentId}.`)
    try {
      await qmp.execute('block_resize', { 'node-name': node, size: sizeBytes }, sizePatienceMs)
      return
    } catch (error) {
      if (!(error instanceof QmpError)) throw error
      if (performance.now() > end) {
        throw new DomainError(
          'unavailable',
          `Disk ${attachmentId} did not take the size of ${sizeBytes} bytes: ${error.desc}`,
          { cause: error },
        )
      }
    }
    await sleep(pollMs)
  }
}
