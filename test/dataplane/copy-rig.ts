import { execFileSync } from 'node:child_process'
import { createCipheriv, createHash, randomUUID } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { LocalStorageAgent, StorageAgentOptions } from '@volant/agent'
import type { ImageCopyRequest, ImageRef } from '@volant/contract'
import { findByCommandWord } from '@volant/qemu/process.ts'
import { caller, MiB, openRig, until } from './rig.ts'
import type { Rig } from './rig.ts'
import { mountXfs } from './xfs.ts'

export const blockBytes = 4096

/** Repeatable: a failure names its seed. */
export function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state % below
  }
}

export interface CopyRig {
  rig: Rig
  storage: LocalStorageAgent
  /** Those of `storage`, for another agent of the same node. */
  options: Pick<StorageAgentOptions, 'node' | 'stateDir' | 'runDir' | 'aggregates' | 'dataAddress'>
  /** Its folders of the aggregates `one`, `two` (both XFS) and `plain` (whatever the temporary folder is on). */
  pathOf(image: ImageRef): string
  ref(aggregate: string): ImageRef
  newImage(aggregate: string, sizeBytes: number): Promise<ImageRef>
  clone(from: ImageRef): Promise<ImageRef>
  /** Returns when it is done; throws with its error. */
  copied(request: ImageCopyRequest): Promise<{ doneBytes: number; totalBytes: number }>
}

/** Two aggregates that share blocks, and one that need not. */
export async function openCopyRig(t: TestContext, sizeBytes = 1024 * MiB): Promise<CopyRig> {
  const rig = await openRig(t)
  const paths = {
    one: mountXfs(t, sizeBytes),
    two: mountXfs(t, sizeBytes),
    plain: join(rig.folder, 'plain'),
  }
  mkdirSync(paths.plain)
  const options = {
    node: 'node1',
    stateDir: join(rig.folder, 'sc'),
    runDir: join(rig.folder, 'r'),
    aggregates: Object.entries(paths).map(([name, path]) => ({ name, path })),
    dataAddress: '127.0.0.1',
  }
  const storage = rig.storageAgent(options)
  for (const aggregate of Object.keys(paths)) await storage.ensureFlexVol(caller, { aggregate, name: 'fv1' })
  const ref = (aggregate: string): ImageRef => ({ imageId: randomUUID(), aggregate, flexvol: 'fv1' })
  const pathOf = ({ aggregate, flexvol, imageId }: ImageRef): string =>
    join(paths[aggregate as keyof typeof paths], flexvol, imageId)
  return {
    rig,
    storage,
    options,
    pathOf,
    ref,
    async newImage(aggregate, size) {
      const image = ref(aggregate)
      await storage.ensureImage(caller, image, size)
      return image
    },
    async clone(from) {
      const image = ref(from.aggregate)
      await storage.ensureClone(caller, image, from)
      return image
    },
    copied: (request) => copied(storage, request),
  }
}

export async function copied(storage: LocalStorageAgent, request: ImageCopyRequest) {
  const { imageId } = request.to
  await storage.ensureImageCopy(caller, request)
  await until('the copy is over', async () =>
    ['done', 'failed'].includes((await storage.imageCopyStatus(imageId)).phase),
  )
  const { phase, error, doneBytes, totalBytes } = await storage.imageCopyStatus(imageId)
  if (phase !== 'done') throw new Error(error)
  await storage.ensureNoImageCopy(caller, imageId)
  return { doneBytes, totalBytes }
}

export const hashOf = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

/** Writes random bytes; every 16th block of what is longer is of zeroes. */
export function write(path: string, at: number, bytes: number, next = randomOf(at + bytes)): void {
  const key = Buffer.alloc(16)
  for (let i = 0; i < 16; i += 4) key.writeUInt32LE(next(2 ** 32 - 1), i)
  const data = createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(bytes))
  if (bytes >= 16 * blockBytes) data.fill(0, 15 * blockBytes, 16 * blockBytes)
  const file = openSync(path, 'r+')
  try {
    writeSync(file, data, 0, bytes, at)
  } finally {
    closeSync(file)
  }
}

export const fallocate = (path: string, how: '-p' | '-z' | '-x', at: number, bytes: number): void => {
  const mode = how === '-x' ? [] : [how]
  execFileSync('fallocate', [...mode, '-n', '-o', String(at), '-l', String(bytes), path], { stdio: 'pipe' })
}

/** Writes, trims, zeroes and reserves at random places. */
export function scribble(path: string, sizeBytes: number, next: (below: number) => number, times = 40): void {
  for (let i = 0; i < times; i += 1) {
    const length = (1 + next(next(4) === 0 ? 256 : 8)) * blockBytes
    const at = next((sizeBytes - length) / blockBytes) * blockBytes
    const what = next(8)
    if (what < 5) write(path, at, length, next)
    else fallocate(path, what === 5 ? '-z' : what === 6 ? '-x' : '-p', at, length)
  }
}

/** Programs that copy to the image. */
export const copiersOf = ({ imageId }: ImageRef): number[] =>
  findByCommandWord(new RegExp(`^(image=${imageId}$|tls-creds-x509,id=copy-${imageId},)`)).map(
    ({ pid }) => pid,
  )
