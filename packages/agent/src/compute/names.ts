import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { DomainError } from '@volant/contract'
import { requireSafeId, shortName } from '../daemon/names.ts'

/** Files of one server on its compute host. The folder stays until `ensureNoGuest`. */
export interface GuestPaths {
  folder: string
  record: string
  /** Beside the record; see `markSwitching`. */
  switching: string
  /** The serial console's log; only ever appended to. */
  console: string
  /** What QEMU itself prints. */
  qemuLog: string
  rootDisk: string
  /** QMP socket. */
  qmp: string
}

const socketPathLimit = 107

export const guestsFolder = (stateDir: string): string => join(stateDir, 'guests')

export const guestPaths = (stateDir: string, runDir: string, serverId: string): GuestPaths => {
  const folder = join(guestsFolder(stateDir), requireSafeId('server id', serverId))
  const qmp = join(runDir, `g-${shortName(serverId)}`)
  if (Buffer.byteLength(qmp) > socketPathLimit) {
    throw new DomainError(
      'invalid',
      `The socket path ${qmp} is longer than ${socketPathLimit} bytes; use a shorter run folder.`,
    )
  }
  return {
    folder,
    record: join(folder, 'guest.json'),
    switching: join(folder, 'switching'),
    console: join(folder, 'console.log'),
    qemuLog: join(folder, 'qemu.log'),
    rootDisk: join(folder, 'root.raw'),
    qmp,
  }
}

/** What a disk is called inside QEMU. Node names end at 31 bytes, so an attachment's id stands there as a digest. */
export interface DiskNames {
  device: string
  node: string
  iothread: string
}

export const diskNames = (attachmentId: string): DiskNames => {
  const digest = createHash('sha256').update(attachmentId).digest('hex').slice(0, 20)
  return { device: `disk-${digest}`, node: `node-${digest}`, iothread: `io-${digest}` }
}

/** Where QEMU has the part of a virtio-blk device that its block device is attached to. */
export const diskBackendPath = (attachmentId: string): string =>
  `/machine/peripheral/${diskNames(attachmentId).device}/virtio-backend`

/** What a guest sees as a volume's serial: virtio-blk has room for 20 bytes. */
export const diskSerial = (volumeId: string): string => volumeId.slice(0, 20)

/** Interface names end at 15 bytes. */
export const tapName = (serverId: string, mac: string, salt?: string): string => {
  const name = salt === undefined ? `${serverId} ${mac}` : `${serverId} ${mac} ${salt}`
  return `vt${createHash('sha256').update(name).digest('hex').slice(0, 12)}`
}

/** Whether an interface may be one of those. */
export const isTapName = (name: string): boolean => /^vt[0-9a-f]{12}$/.test(name)
