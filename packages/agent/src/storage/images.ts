import { constants } from 'node:fs'
import {
  chmod,
  copyFile,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  rmdir,
  stat,
  statfs,
  truncate,
  unlink,
} from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError } from '@volant/contract'
import type { AggregateDefinition, AggregateSpace, ImageInfo, ImageRef } from '@volant/contract'
import { requireSafeId, requireUuid } from '../daemon/names.ts'
import type { Aggregates } from './aggregates.ts'

export type Aggregate = AggregateDefinition

export interface FlexVolRef {
  aggregate: string
  name: string
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT'

/** Where images are: `<aggregate's path>/<FlexVol>/<image's UUID>`. No name reaches a path unchecked. */
export class ImageFolders {
  readonly #aggregates: Aggregates

  constructor(aggregates: Aggregates) {
    this.#aggregates = aggregates
  }

  /** Throws `notFound`, and `unavailable` where it is not mounted. */
  aggregate(name: string): Aggregate {
    return this.#aggregates.get(name)
  }

  folder({ aggregate, name }: FlexVolRef): string {
    return join(this.aggregate(aggregate).path, requireSafeId('FlexVol name', name))
  }

  path({ aggregate, flexvol, imageId }: ImageRef): string {
    return join(this.folder({ aggregate, name: flexvol }), requireUuid('image id', imageId))
  }

  async ensureFlexVol(flexvol: FlexVolRef): Promise<void> {
    await this.#aggregates.inTurn(flexvol.aggregate, async () => {
      const { path, filesystem } = this.aggregate(flexvol.aggregate)
      const folder = this.folder(flexvol)
      await mkdir(folder, { recursive: true, mode: 0o700 })
      if (filesystem === 'xfs') await requireOnMount(folder, path)
      await syncFolder(dirname(folder))
    })
  }

  async ensureNoFlexVol(flexvol: FlexVolRef): Promise<void> {
    await this.#aggregates.inTurn(flexvol.aggregate, async () => {
      const folder = this.folder(flexvol)
      try {
        await rmdir(folder)
      } catch (error) {
        if (isMissing(error)) return
        if (!['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
        const names = await readdir(folder)
        throw new DomainError(
          'conflict',
          `FlexVol ${flexvol.name} still holds ${names.length} files on aggregate ${flexvol.aggregate}, ` +
            `among them ${names[0] ?? 'one that was just removed'}; move or remove them first.`,
        )
      }
      await syncFolder(dirname(folder))
    })
  }

  /** What the aggregate's images occupy, unfinished ones too, and what is left. */
  async space(name: string): Promise<AggregateSpace> {
    const ofFile = await this.#aggregates.space(name)
    if (ofFile) return ofFile
    const { path, sizeBytes } = this.aggregate(name)
    const fileSystem = await statfs(path)
    let usedBytes = 0
    for (const flexvol of await namesIn(path)) {
      for (const image of await namesIn(join(path, flexvol))) {
        usedBytes += (await imageInfo(join(path, flexvol, image), image))?.allocatedBytes ?? 0
      }
    }
    const whole = fileSystem.blocks * fileSystem.bsize
    const totalBytes = sizeBytes === undefined ? whole : Math.min(sizeBytes, whole)
    const free = fileSystem.bavail * fileSystem.bsize
    return { totalBytes, usedBytes, freeBytes: Math.max(0, Math.min(totalBytes - usedBytes, free)) }
  }
}

/**
 * Without a FlexVol's folder no image can be made: so in this one place it is certain that none lands below a mount that
 * has just been lost.
 */
async function requireOnMount(folder: string, path: string): Promise<void> {
  const [made, below] = await Promise.all([stat(folder), stat(dirname(path))])
  if (made.dev !== below.dev) return
  await rmdir(folder)
  throw new DomainError('unavailable', `Its aggregate is not mounted at ${path}.`)
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true })
    return entries.filter((entry) => entry.isFile() || entry.isDirectory()).map((entry) => entry.name)
  } catch (error) {
    if (isMissing(error) || (error as NodeJS.ErrnoException).code === 'ENOTDIR') return []
    throw error
  }
}

export async function imageInfo(path: string, imageId: string): Promise<ImageInfo | undefined> {
  try {
    const found = await stat(path, { bigint: true })
    if (!found.isFile()) return undefined
    return {
      imageId,
      sizeBytes: Number(found.size),
      allocatedBytes: Number(found.blocks) * 512,
      readOnly: (found.mode & 0o200n) === 0n,
      changeMark: `${found.ino}.${found.mtimeNs}.${found.ctimeNs}`,
    }
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/**
 * Creates an image under a hidden name, lets `fill` write to it, and gives it its name when all is on disk: an
 * image that exists is complete. What a crash left under the hidden name is replaced.
 */
export async function createImage(
  path: string,
  sizeBytes: number,
  fill?: (hiddenPath: string) => Promise<void>,
): Promise<void> {
  const folder = dirname(path)
  const hidden = `${path}.new`
  await rm(hidden, { force: true })
  let file
  try {
    file = await open(hidden, constants.O_CREAT | constants.O_EXCL | constants.O_RDWR, 0o600)
  } catch (error) {
    if (!isMissing(error)) throw error
    throw new DomainError('notFound', `There is no FlexVol folder ${folder}; create the FlexVol first.`)
  }
  try {
    await file.truncate(sizeBytes)
    await fill?.(hidden)
    await file.sync()
    await rename(hidden, path)
    await syncFolder(folder)
  } catch (error) {
    await rm(hidden, { force: true })
    throw error
  } finally {
    await file.close()
  }
}

/** What the kernel says where two files cannot share blocks. */
const cannotShare = ['ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'ENOTTY', 'EXDEV', 'EINVAL', 'EPERM']

/** Makes an image that shares all blocks with `from`, as that is at one instant, whoever writes to it. */
export async function cloneImage(path: string, from: string, sizeBytes: number): Promise<void> {
  await createImage(path, sizeBytes, async (hidden) => {
    try {
      await copyFile(from, hidden, constants.COPYFILE_FICLONE_FORCE)
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException
      if (code === 'ENOSPC')
        throw new DomainError('noCapacity', `There is no space left for a clone of ${from}.`)
      if (!cannotShare.includes(code)) throw error
      throw new DomainError(
        'notImplemented',
        `Images in ${dirname(path)} and ${dirname(from)} cannot share blocks (${code}); copy it instead.`,
      )
    }
    // The source's are copied with it, and that may be a kept one.
    await chmod(hidden, 0o600)
  })
}

export async function growImage(path: string, sizeBytes: number): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await file.truncate(sizeBytes)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** What one step of a removal frees, where that makes no more steps than are bearable. */
const freedAtOnce = 16 * 1024 * 1024
const mostSteps = 2048
/** Between two steps, so that others get their turn. */
const restMs = 2

/**
 * Removes an image: at once for all who look for it, its blocks piece by piece. A file system that frees a GiB in one
 * go keeps everybody else waiting meanwhile (measured on ext4 with `discard`: a client of another volume 36 to
 * 150 ms; like this 6 ms). Repeated after a crash, it goes on.
 */
export async function removeImage(path: string): Promise<void> {
  const hidden = `${path}.gone`
  try {
    await rename(path, hidden)
    await syncFolder(dirname(path))
  } catch (error) {
    if (!isMissing(error)) throw error
  }
  await finishRemoval(hidden)
}

/** The second half of it, for what a crash left under its hidden name. */
export async function finishRemoval(hidden: string): Promise<void> {
  try {
    await freePiecewise(hidden)
    await unlink(hidden)
  } catch (error) {
    if (isMissing(error)) return
    throw error
  }
  await syncFolder(dirname(hidden))
}

async function freePiecewise(path: string): Promise<void> {
  const { size, blocks } = await stat(path)
  const pieces = Math.min(mostSteps, Math.ceil((blocks * 512) / freedAtOnce))
  if (pieces <= 1) return
  await chmod(path, 0o600) // a source that was kept is read-only
  for (let left = pieces - 1; left > 0; left -= 1) {
    await truncate(path, Math.floor((size * left) / pieces))
    await sleep(restMs)
  }
}

/** On disk when it returns: a record that relies on it must not outlive it in a power failure. */
export async function setReadOnly(path: string, readOnly: boolean): Promise<void> {
  const file = await open(path, 'r')
  try {
    await file.chmod(readOnly ? 0o400 : 0o600)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
