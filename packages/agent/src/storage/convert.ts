import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { DomainError, messageOf } from '@volant/contract'
import type { ImageRef } from '@volant/contract'
import { createImage } from './images.ts'

const run = promisify(execFile)

interface SourceInfo {
  'virtual-size': number
  'backing-filename'?: string
  'full-backing-filename'?: string
  'format-specific'?: { data?: { 'data-file'?: string } }
}

export interface SourceImage {
  path: string
  format: 'raw' | 'qcow2'
}

/**
 * The size of an image file as a disk, in bytes. Throws `invalid` for a file that is not of the format named, or
 * that would draw other files of this machine in: a qcow2 with a backing file or an external data file.
 */
async function inspectSource({ path, format }: SourceImage): Promise<number> {
  let info: SourceInfo
  try {
    // The format is named, never probed; `file:` keeps a path from being taken for a protocol.
    const { stdout } = await run('qemu-img', ['info', '--output=json', '-f', format, `file:${path}`], {
      timeout: 30_000,
    })
    info = JSON.parse(stdout) as SourceInfo
  } catch (error) {
    throw new DomainError('invalid', `The image file cannot be read as ${format}.`, {
      detail: messageOf(error),
    })
  }
  if (info['backing-filename'] !== undefined || info['full-backing-filename'] !== undefined) {
    throw new DomainError('invalid', 'The image has a backing file; flatten it first (qemu-img convert).')
  }
  if (info['format-specific']?.data?.['data-file'] !== undefined) {
    throw new DomainError(
      'invalid',
      'The image has an external data file; flatten it first (qemu-img convert).',
    )
  }
  return info['virtual-size']
}

/** Makes a raw image of `sizeBytes` that begins with the source's content; zeroes of the source take no space. */
export async function createImageFrom(
  path: string,
  image: ImageRef,
  sizeBytes: number,
  source: SourceImage,
): Promise<void> {
  const virtualSize = await inspectSource(source)
  if (virtualSize > sizeBytes) {
    throw new DomainError(
      'invalid',
      `The image needs ${virtualSize} bytes, the volume has only ${sizeBytes}.`,
    )
  }
  const blanks = ['-n', '--target-is-zero', '-S', '4k']
  await createImage(path, sizeBytes, async (hidden) => {
    try {
      const names = [`file:${source.path}`, `file:${hidden}`]
      await run('qemu-img', ['convert', '-f', source.format, '-O', 'raw', ...blanks, ...names], {
        timeout: 3_600_000,
      })
    } catch (error) {
      throw new DomainError('unavailable', `Image ${image.imageId} could not be filled.`, {
        detail: messageOf(error),
      })
    }
  })
}
