import { constants } from 'node:fs'
import { chmod, mkdir, open, readdir, rename, rm, rmdir, stat, statfs, truncate } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { DomainError, messageOf } from '@volant/contract'
import type { AggregateDefinition, AggregateSpace } from '@volant/contract'
import { syncFolder } from '@volant/qemu/durable-file.ts'
import { removeImage } from './images.ts'
import {
  detachLoop,
  endLoops,
  ensureLoop,
  fileBehind,
  loopsOf,
  missingForXfs,
  mountAt,
  realPathOf,
  run,
  unmountAll,
  xfsUuidOf,
} from './loop-mount.ts'

/**
 * An aggregate that is a file: `PATH.xfs`, thin, formatted as XFS with reflink, behind a loop device with direct I/O,
 * mounted at PATH. Every step can be repeated after a crash.
 *
 * The file is formatted under the name `PATH.xfs.new` and gets its own when the file system in it is whole and on disk.
 * So one that is called `PATH.xfs` is never formatted again, and `.new` never held anything.
 */

/** XFS makes its log of 64 MiB at once; less than 300 MiB it does not format at all. */
export const leastXfsBytes = 512 * 1024 ** 2
const writtenAtOnce = 96 * 1024 ** 2

export const xfsFileOf = (path: string): string => `${path}.xfs`
const partOf = (path: string): string => `${xfsFileOf(path)}.new`

/** Throws `notImplemented`, and says all that is missing. */
export function requireXfs(what: string): void {
  const missing = missingForXfs()
  if (missing.length === 0) return
  throw new DomainError(
    'notImplemented',
    `${what} is to be XFS in a file. For that ${missing.join(', and ')}.`,
  )
}

/** Of an aggregate that the configuration names, before anything is done with it. Throws `invalid`. */
export async function requireXfsPossible({ name, path, sizeBytes = 0 }: AggregateDefinition): Promise<void> {
  const present = await stat(xfsFileOf(resolve(path))).catch(() => undefined)
  if (present !== undefined && present.size > sizeBytes) throw shrinks(name, present.size, sizeBytes)
  try {
    requireXfs(`Aggregate ${name}`)
  } catch (error) {
    throw new DomainError('invalid', messageOf(error), { cause: error })
  }
}

const isThere = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => undefined)) !== undefined

export const hasXfsFile = (path: string): Promise<boolean> => isThere(xfsFileOf(path))

/** Throws `invalid` for a size that is none, `noCapacity` where even an empty file system has no room. */
export async function formatXfsFile(path: string, sizeBytes: number): Promise<void> {
  requireXfs(`Aggregate ${path}`)
  const [file, part] = [xfsFileOf(path), partOf(path)]
  if (await isThere(file)) return
  const host = await statfs(dirname(path))
  if (host.bavail * host.bsize < writtenAtOnce) {
    throw new DomainError('noCapacity', `There is no room for ${file}: an empty XFS takes 64 MiB.`)
  }
  await rm(part, { force: true })
  try {
    const made = await open(part, constants.O_CREAT | constants.O_EXCL | constants.O_RDWR, 0o600)
    try {
      await made.truncate(sizeBytes)
      // The sector size: whatever the file lies on, it can be mounted, and moved to disks with sectors of 4 KiB.
      await run('mkfs.xfs', '-q', '-m', 'reflink=1', '-s', 'size=4096', part)
      await made.sync()
    } finally {
      await made.close()
    }
    await rename(part, file)
  } catch (error) {
    await rm(part, { force: true })
    throw new DomainError(codeOf(error), `${file} could not be formatted. ${messageOf(error)}`, {
      cause: error,
    })
  }
  syncFolder(dirname(file))
}

function codeOf(error: unknown): 'noCapacity' | 'invalid' | 'notImplemented' {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC' || messageOf(error).includes('No space left')) return 'noCapacity'
  return code === 'EFBIG' ? 'invalid' : 'notImplemented'
}

/** What is mounted at PATH is this file. Throws `unavailable` where it is something else. */
export async function isXfsMounted(path: string): Promise<boolean> {
  const mount = await mountAt(path)
  if (mount === undefined) return false
  const behind = await fileBehind(mount.device)
  if (mount.filesystem === 'xfs' && behind === (await realPathOf(xfsFileOf(path)))) return true
  throw new DomainError(
    'unavailable',
    `At ${path} something else is mounted, not ${xfsFileOf(path)}; unmount it (umount ${path}).`,
  )
}

/**
 * Mounts the file, which is there. Throws `unavailable`: the UUID in it is not `uuid`; the folder below is not empty;
 * something else is mounted there.
 */
export async function mountXfsFile(path: string, uuid: string | undefined): Promise<void> {
  const file = xfsFileOf(path)
  const found = await xfsUuidOf(file)
  if (found === undefined || found !== (uuid ?? found)) {
    throw new DomainError(
      'unavailable',
      found === undefined
        ? `${file} holds no XFS; put the aggregate's file back.`
        : `${file} is another file than the aggregate's; put that back.`,
    )
  }
  // Nobody but root can write to what is below a mount that is missing, and root's agent looks before it does.
  await mkdir(path, { recursive: true, mode: 0o500 })
  const below = await readdir(path)
  if (below.length > 0) {
    throw new DomainError(
      'unavailable',
      `The folder ${path}, which ${file} is to be mounted at, is not empty (${below.slice(0, 3).join(', ')}); move that away.`,
    )
  }
  const device = await ensureLoop(file)
  await run('mount', '-t', 'xfs', '-o', 'noatime,discard', device, path)
  await chmod(path, 0o700)
  await detachLoop(device)
}

/** A file that is larger than its file system, or is to be: the file system grows. Throws `invalid` for a smaller size. */
export async function growXfsFile(path: string, sizeBytes: number): Promise<void> {
  const file = xfsFileOf(path)
  const { size } = await stat(file)
  if (sizeBytes < size) throw shrinks(path, size, sizeBytes)
  if (sizeBytes > size) await truncate(file, sizeBytes)
  for (const device of await loopsOf(file)) await run('losetup', '--set-capacity', device)
  await run('xfs_growfs', '-d', path)
}

export const shrinks = (name: string, from: number, to: number): DomainError =>
  new DomainError(
    'invalid',
    `XFS cannot shrink: aggregate ${name} has ${from} bytes, not ${to}. Give it its size back, or more.`,
  )

/** Throws `conflict` while somebody uses it, and says who. */
export async function unmountXfsFile(path: string): Promise<void> {
  const file = xfsFileOf(path)
  await unmountAll(path, async () => (await mountAt(path)) !== undefined && (await isXfsMounted(path)))
  await endLoops(file)
}

/** After `unmountXfsFile`: the file and what is left of it, and the folder. Goes on after a crash. */
export async function removeXfsFile(path: string): Promise<void> {
  await removeImage(xfsFileOf(path))
  await rm(partOf(path), { force: true })
  await rmdir(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  })
}

/**
 * From the file system itself, for its images share blocks. What is free in it can be written as far as the file system
 * below has room for the file, which is thin.
 */
export async function xfsSpace(path: string): Promise<AggregateSpace> {
  const [inside, below, file] = await Promise.all([
    statfs(path),
    statfs(dirname(path)),
    stat(xfsFileOf(path)),
  ])
  const totalBytes = inside.blocks * inside.bsize
  const usedBytes = totalBytes - inside.bfree * inside.bsize
  const alreadyThere = Math.max(0, file.blocks * 512 - usedBytes)
  const room = below.bavail * below.bsize + alreadyThere
  return { totalBytes, usedBytes, freeBytes: Math.min(inside.bavail * inside.bsize, room) }
}
