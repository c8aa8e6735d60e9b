import { execFile } from 'node:child_process'
import { existsSync, renameSync, rmSync } from 'node:fs'
import { promisify } from 'node:util'
import type { GuestSpec } from '@volant/contract'
import { DomainError, messageOf } from '@volant/contract'

const run = promisify(execFile)
const infoTimeoutMs = 30_000
const copyTimeoutMs = 3_600_000

interface ImageInfo {
  'virtual-size': number
  'backing-filename'?: string
  'format-specific'?: { data?: { 'data-file'?: string } }
}

const infoOf = async (path: string, format: 'raw' | 'qcow2'): Promise<ImageInfo> => {
  const { stdout } = await run('qemu-img', ['info', '--output=json', '-f', format, path], {
    timeout: infoTimeoutMs,
  })
  return JSON.parse(stdout) as ImageInfo
}

/**
 * Makes the server's own disk from its image, once: a sparse raw file of `sizeBytes`. Throws `invalid` where the
 * image is larger than that, or refers to other files.
 */
export const ensureRootDisk = async (
  path: string,
  { sourcePath, sourceFormat, sizeBytes }: NonNullable<GuestSpec['rootDisk']>,
): Promise<void> => {
  if (existsSync(path)) return
  const part = `${path}.part`
  try {
    const info = await infoOf(sourcePath, sourceFormat)
    if (
      info['backing-filename'] !== undefined ||
      info['format-specific']?.data?.['data-file'] !== undefined
    ) {
      throw new DomainError(
        'invalid',
        'The image refers to another file; convert it into one that stands alone.',
      )
    }
    if (info['virtual-size'] > sizeBytes) {
      throw new DomainError(
        'invalid',
        `The image has ${info['virtual-size']} bytes and does not fit into a root disk of ${sizeBytes}.`,
      )
    }
    await run('qemu-img', ['convert', '-f', sourceFormat, '-O', 'raw', sourcePath, part], {
      timeout: copyTimeoutMs,
    })
    await run('qemu-img', ['resize', '-q', '-f', 'raw', part, String(sizeBytes)], { timeout: infoTimeoutMs })
    renameSync(part, path)
  } catch (error) {
    rmSync(part, { force: true })
    if (error instanceof DomainError) throw error
    throw new DomainError('unavailable', `The root disk could not be made: ${messageOf(error)}`, {
      cause: error,
    })
  }
}
