import { execFile } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { open, stat } from 'node:fs/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)
const mebibyte = 1024 * 1024

export async function createEmpty(path: string, sizeBytes: number): Promise<void> {
  const file = await open(path, 'w', 0o600)
  try {
    await file.truncate(sizeBytes)
  } finally {
    await file.close()
  }
}

/**
 * Writes over the whole of a file that is there, past the page cache; `sizeBytes` is whole MiB. Random bytes, unless only
 * the allocation matters.
 */
export async function fillDense(
  path: string,
  sizeBytes: number,
  what: 'random' | 'zero' = 'random',
): Promise<void> {
  const count = `count=${sizeBytes / mebibyte}`
  // By dd: O_DIRECT takes page-aligned memory only, which Node.js does not promise.
  const args = [
    `if=/dev/${what === 'random' ? 'urandom' : 'zero'}`,
    `of=${path}`,
    'bs=1M',
    count,
    'oflag=direct',
    'conv=notrunc,fsync',
  ]
  await run('dd', args, { timeout: 120_000 })
}

/** Writes `count` blocks of 4 KiB, evenly scattered so that no two touch: what a larger granule would inflate. */
export const fillScattered = (path: string, sizeBytes: number, count: number): Promise<void> =>
  fillExtents(path, sizeBytes, count, 4096)

/** Writes `count` extents of random bytes, evenly spread, into a file that is there. */
export async function fillExtents(
  path: string,
  sizeBytes: number,
  count: number,
  extentBytes: number,
): Promise<void> {
  const data = randomFillSync(Buffer.alloc(extentBytes))
  const stride = Math.floor(sizeBytes / count / extentBytes) * extentBytes
  const file = await open(path, 'r+')
  try {
    for (let i = 0; i < count; i += 1) {
      data.writeUInt32LE(i, 0)
      await file.write(data, 0, data.length, i * stride)
    }
    await file.sync()
  } finally {
    await file.close()
  }
}

export const allocatedBytes = async (path: string): Promise<number> => (await stat(path)).blocks * 512
