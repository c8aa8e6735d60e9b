import { statfs } from 'node:fs/promises'
import { createHash, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { DomainError, messageOf } from '@volant/contract'
import { NbdClient } from '@volant/qemu/nbd-client.ts'
import { run, unmountAll, mountAt } from '../storage/loop-mount.ts'
import type { HeadAddress } from './block-device.ts'

/** XFS of a share, on a device that is far larger: each function does one thing, and all can be repeated. */

export const xfsBlockBytes = 4096
const logBytes = 64 * 2 ** 20

/** What is at the beginning of an XFS. */
export interface Superblock {
  /** Lower case, with dashes. */
  uuid: string
  /** At most 12 characters. */
  label: string
  /** Bytes of all, the log with it. */
  sizeBytes: number
  /** Bytes of its log: the one part that the kernel does not count as the file system's. */
  logBytes: number
}

/** The share whose it is, as its label: what was given an identity of its own once keeps it, whoever forgot about it. */
export const labelOf = (shareId: string): string =>
  createHash('sha256').update(shareId).digest('hex').slice(0, 12)

/** Of an XFS that was made to its end; undefined for anything else. */
function readSuperblock(bytes: Buffer): Superblock | undefined {
  const inProgress = bytes[126] !== 0
  if (bytes.toString('latin1', 0, 4) !== 'XFSB' || inProgress) return undefined
  const blockBytes = bytes.readUInt32BE(4)
  const hex = bytes.toString('hex', 32, 48)
  return {
    uuid: hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'),
    label: bytes.toString('latin1', 108, 120).replace(/\0.*$/s, ''),
    sizeBytes: Number(bytes.readBigUInt64BE(8)) * blockBytes,
    logBytes: bytes.readUInt32BE(96) * blockBytes,
  }
}

/** What a head serves. */
export interface HeadContent {
  /** The export's description: the volume's id. */
  identity: string
  sizeBytes: number
  superblock: Superblock | undefined
}

/** Asks the head itself, for a request on the block device would wait for it. Throws `unavailable` where it does not answer. */
export async function lookAtHead(head: HeadAddress, timeoutMs = 10_000): Promise<HeadContent> {
  let client: NbdClient | undefined
  const late = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs).unref()
  })
  try {
    client = await NbdClient.connect({ path: head.socketPath }, head.exportName, timeoutMs)
    const superblock = readSuperblock(await Promise.race([client.read(0, 512), late]))
    return { identity: client.description, sizeBytes: client.sizeBytes, superblock }
  } catch (error) {
    throw new DomainError(
      'unavailable',
      `The head at ${head.socketPath} does not answer: ${messageOf(error)}`,
      { cause: error },
    )
  } finally {
    client?.close()
    late.catch(() => {})
  }
}

/**
 * Whoever may mount a share may write to its root: it is empty, and a client's root, who would give it to somebody, is
 * nobody where it is squashed. In the words of mkfs.xfs's `-p`, so that no file system is ever without it.
 */
const rootFolder = join(import.meta.dirname, 'root-folder.proto')

/** Formats the device; returns the file system's UUID. What is there is overwritten. */
export async function formatFileSystem(device: string, shareId: string, sizeBytes: number): Promise<string> {
  const uuid = randomUUID()
  // Sectors of 4 KiB: whatever the image comes to lie on, it can be mounted. No discard: a new image is empty.
  const layout = ['-m', `reflink=1,uuid=${uuid}`, '-d', `size=${sizeBytes}`, '-l', `size=${logBytes}`]
  const fresh = ['-q', '-f', '-K', '-s', 'size=4096', '-p', rootFolder, '-L', labelOf(shareId)]
  await run('mkfs.xfs', ...fresh, ...layout, device)
  return uuid
}

/** An identity of its own for what came from a clone, with what its log still holds brought in first. */
export async function giveIdentity(device: string, path: string, shareId: string): Promise<string> {
  await run('mount', '-t', 'xfs', '-o', 'nouuid,noatime', device, path)
  await unmountFileSystem(path)
  const uuid = randomUUID()
  await run('xfs_admin', '-U', uuid, device)
  // What is half done is done again: the label says that it is done.
  await run('xfs_admin', '-L', labelOf(shareId), device)
  return uuid
}

export async function mountFileSystem(device: string, path: string, readOnly: boolean): Promise<void> {
  const options = ['noatime', 'nosuid', 'nodev', 'noexec', 'discard', readOnly ? 'ro' : 'rw']
  await run('mount', '-t', 'xfs', '-o', options.join(','), device, path)
}

/** Throws `conflict` while somebody uses it, and says who. */
export const unmountFileSystem = (path: string): Promise<void> =>
  unmountAll(path, async () => (await mountAt(path)) !== undefined)

export interface Space {
  sizeBytes: number
  usedBytes: number
  freeBytes: number
}

/** Asks the kernel, which does no I/O for it. */
export async function spaceOf(path: string, log: number): Promise<Space> {
  const { bsize, blocks, bfree, bavail } = await statfs(path)
  return { sizeBytes: blocks * bsize + log, usedBytes: (blocks - bfree) * bsize, freeBytes: bavail * bsize }
}

export async function growFileSystem(path: string, sizeBytes: number): Promise<void> {
  await run('xfs_growfs', '-D', String(Math.floor(sizeBytes / xfsBlockBytes)), path)
}

/** Everything written so far is on the device, and the device was told to keep it. */
export const flushFileSystem = async (path: string): Promise<void> => void (await run('sync', '-f', path))

export const trimFileSystem = async (path: string): Promise<void> => void (await run('fstrim', path))
