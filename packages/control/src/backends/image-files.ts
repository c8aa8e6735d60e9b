import { createHash, randomUUID } from 'node:crypto'
import { constants, createReadStream, createWriteStream } from 'node:fs'
import { copyFile, link, mkdir, open, readdir, rename, rm, stat, statfs, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { DomainError } from '@volant/contract'
import type { ImageFiles, ReceivedFile } from '../ports/images.ts'

const partSuffix = '.part'
const idForm = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Images' files in one folder of a local file system. What is being received ends in `.part`. */
export async function localImageFiles(
  folder: string,
  /** An upload that brings nothing for so long is given up; milliseconds. */
  idleMs = 60_000,
): Promise<ImageFiles> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const path = (imageId: string): string => {
    if (!idForm.test(imageId)) throw new DomainError('notFound', `Failed to find image ${imageId}`)
    return join(folder, imageId)
  }
  const partPath = (imageId: string): string => `${path(imageId)}.${randomUUID()}${partSuffix}`

  return {
    path,
    async receive(imageId, data, { maxBytes }) {
      const part = partPath(imageId)
      const idle = idleSignal(idleMs)
      const meter = measuring(maxBytes, idle)
      try {
        const file = createWriteStream(part, { flags: 'wx', mode: 0o600, flush: true })
        await pipeline(data, meter.stream, file, { signal: idle.signal })
      } catch (error) {
        await rm(part, { force: true })
        throw explain(idle.signal.aborted ? idle.signal.reason : error)
      } finally {
        idle.stop()
      }
      return { path: part, ...meter.result() }
    },
    async keep(imageId, received) {
      await rename(received.path, path(imageId))
      await syncFolder(folder)
    },
    async freeBytes() {
      const { bavail, bsize } = await statfs(folder)
      return bavail * bsize
    },
    discard: (received) => rm(received.path, { force: true }),
    async take(imageId, source) {
      const part = partPath(imageId)
      await linkOrCopy(source, part)
      const meter = measuring(Number.MAX_SAFE_INTEGER)
      await pipeline(createReadStream(part), meter.stream.resume())
      return { path: part, ...meter.result() }
    },
    async isCopyOf(imageId, source, since) {
      const [ours, theirs] = await Promise.all([stat(path(imageId)).catch(() => undefined), stat(source)])
      const same = ours?.size === theirs.size && Math.trunc(ours.mtimeMs) === Math.trunc(theirs.mtimeMs)
      // A linked file that was written to later is still the same file, but not the same content.
      return same && theirs.mtimeMs <= since.getTime()
    },
    async read(imageId) {
      const file = await open(path(imageId), 'r').catch((error: unknown) => {
        throw new DomainError('notFound', `Image ${imageId} has no data.`, { cause: error })
      })
      return { stream: file.createReadStream(), sizeBytes: (await file.stat()).size }
    },
    remove: (imageId) => rm(path(imageId), { force: true }),
    async sweep() {
      for (const name of await readdir(folder)) {
        if (name.endsWith(partSuffix)) await rm(join(folder, name), { force: true })
      }
    },
  }
}

interface Idle {
  signal: AbortSignal
  /** Something came. */
  refresh(): void
  stop(): void
}

/** Aborted when nothing comes for so long; what happens after the end takes what it takes. */
function idleSignal(ms: number): Idle {
  const controller = new AbortController()
  const timer = setTimeout(() => {
    controller.abort(new DomainError('invalid', `The upload stalled: nothing came for ${ms / 1000} s.`))
  }, ms)
  return { signal: controller.signal, refresh: () => timer.refresh(), stop: () => clearTimeout(timer) }
}

/** A stream that counts and hashes what passes, and ends with `tooLarge` after `maxBytes`. */
function measuring(maxBytes: number, idle?: Idle) {
  const md5 = createHash('md5')
  const sha512 = createHash('sha512')
  let sizeBytes = 0
  const stream = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      idle?.refresh()
      sizeBytes += chunk.length
      if (sizeBytes > maxBytes) {
        done(new DomainError('tooLarge', `The image is larger than the ${maxBytes} bytes that are allowed.`))
        return
      }
      md5.update(chunk)
      sha512.update(chunk)
      done(null, chunk)
    },
    flush(done) {
      idle?.stop()
      done()
    },
  })
  const result = (): Omit<ReceivedFile, 'path'> => ({
    sizeBytes,
    md5: md5.digest('hex'),
    sha512: sha512.digest('hex'),
  })
  return { stream, result }
}

function explain(error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new DomainError('tooLarge', 'Image storage media is full: the image does not fit.', {
      cause: error,
    })
  }
  if (code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'ECONNRESET') {
    return new DomainError('invalid', 'The connection ended before the whole image was received.', {
      cause: error,
    })
  }
  return error
}

/** A copy shares blocks where the file system can, and keeps the time of change: `isCopyOf` goes by it. */
async function linkOrCopy(source: string, target: string): Promise<void> {
  try {
    await link(source, target)
  } catch {
    await copyFile(source, target, constants.COPYFILE_FICLONE)
    const { atime, mtime } = await stat(source)
    await utimes(target, atime, mtime)
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
