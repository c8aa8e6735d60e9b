import { open, stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError, messageOf } from '@volant/contract'
import type { FileAccess, ImageAccess, NbdAccess } from '@volant/contract'
import { openIdentified } from '@volant/qemu/nbd-identity.ts'
import { readClientTls } from '@volant/qemu/tls/authority.ts'

/** How a holder reaches images on other machines. */
export interface ImageNetwork {
  /** Network namespace, as a path. */
  netns?: string
  /** Folder of the host's client certificate. Throws where the host has none. */
  clientTlsFolder(): Promise<string>
}

/** A second path to an image, beside the daemon's own: opened before it is needed, asked at the decision. */
export interface ImageProbe {
  /** Reads the first block and flushes. Throws `unavailable` where that fails or takes longer than `timeoutMs`. */
  probe(timeoutMs: number): Promise<void>
  /** Makes durable what was written by whatever way. Throws `unavailable` likewise. */
  flush(timeoutMs: number): Promise<void>
  close(): Promise<void>
}

/** Checks that the image is the one that is meant and may be written. Throws `conflict` or `unavailable`. */
export async function checkImage(image: ImageAccess, network: ImageNetwork): Promise<void> {
  if (image.kind === 'file') return checkFile(image)
  const client = await openNbd(image, network)
  client.close()
}

async function checkFile(image: FileAccess): Promise<void> {
  const { imageId, path, sizeBytes } = image
  let found
  try {
    found = await stat(path)
  } catch (error) {
    throw new DomainError('unavailable', `Image ${imageId} cannot be opened: ${messageOf(error)}`, {
      cause: error,
    })
  }
  const problem =
    basename(path) !== imageId
      ? `its file is named ${basename(path)}`
      : !found.isFile()
        ? 'it is no regular file'
        : found.size !== sizeBytes
          ? `it has ${found.size} bytes instead of ${sizeBytes}`
          : (found.mode & 0o200) === 0
            ? 'it is read-only, kept after a move'
            : undefined
  if (problem !== undefined) throw new DomainError('conflict', `Image ${imageId} is refused: ${problem}.`)
}

async function openNbd(image: NbdAccess, network: ImageNetwork) {
  const { host, port, exportName, tlsHostname } = image
  const tls = readClientTls(await network.clientTlsFolder(), tlsHostname)
  const { netns } = network
  return openIdentified({ host, port, tls, ...(netns === undefined ? {} : { netns }) }, exportName, image)
}

export async function openProbe(image: ImageAccess, network: ImageNetwork): Promise<ImageProbe> {
  if (image.kind === 'nbd') {
    const client = await openNbd(image, network)
    const ask = async (): Promise<void> => {
      await Promise.all([client.read(0, 4096), client.flush()])
    }
    return {
      probe: (timeoutMs) => bounded(image, ask, timeoutMs),
      flush: (timeoutMs) => bounded(image, () => client.flush(), timeoutMs),
      close: async () => client.close(),
    }
  }
  await checkFile(image)
  const file = await open(image.path, 'r+')
  // No flush of our own: the daemon's mirror flushes its target in the drained section before PENDING, and is not
  // PENDING where that fails (QEMU's block/mirror.c); this file is the very one that it has open.
  const ask = async (): Promise<void> => {
    await file.read(Buffer.alloc(4096), 0, 4096, 0)
  }
  return {
    probe: (timeoutMs) => bounded(image, ask, timeoutMs),
    flush: (timeoutMs) => bounded(image, () => file.sync(), timeoutMs),
    close: () => file.close(),
  }
}

async function bounded(image: ImageAccess, ask: () => Promise<unknown>, timeoutMs: number): Promise<void> {
  const bound = new AbortController()
  const late = sleep(timeoutMs, undefined, { signal: bound.signal }).then(() => {
    throw new Error(`it did not answer within ${timeoutMs} ms`)
  })
  late.catch(() => {})
  try {
    await Promise.race([ask(), late])
  } catch (error) {
    throw new DomainError(
      'unavailable',
      `The target image ${image.imageId} does not answer: ${messageOf(error)}`,
      {
        cause: error,
      },
    )
  } finally {
    bound.abort()
  }
}
