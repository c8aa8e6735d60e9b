import { execFile } from 'node:child_process'
import { open } from 'node:fs/promises'
import { promisify } from 'node:util'
import { DomainError, messageOf } from '@volant/contract'
import { headerBytes, isQcow2, readQcow2Header } from '../domain/qcow2-header.ts'
import type { ImageInspector } from '../ports/images.ts'

const run = promisify(execFile)
/** A hostile file must not make qemu-img eat the machine: 1 GiB of memory, 10 s of processor, 30 s in all. */
const limits = ['--as=1073741824', '--cpu=10']
const timeoutMs = 30_000

interface QemuInfo {
  'virtual-size': number
  'backing-filename'?: string
  'format-specific'?: { data?: { 'data-file'?: string; corrupt?: boolean } }
}

/** Goes by the format that was declared; a file's content never chooses it. */
export const imageInspector = (options: { maxVirtualBytes: number }): ImageInspector => ({
  async inspect(path, sizeBytes, format) {
    const start = await firstBytes(path)
    if (format !== 'qcow2') {
      // Somebody who forgot to say so: as raw bytes it would boot nothing.
      if (isQcow2(start)) {
        throw new DomainError(
          'invalid',
          `The data is a qcow2 image, but the image's disk_format is ${format}. Set disk_format to qcow2.`,
        )
      }
      return sizeBytes
    }
    const header = readQcow2Header(start, sizeBytes, options.maxVirtualBytes)
    const info = await qemuInfo(path)
    const data = info['format-specific']?.data
    if (info['backing-filename'] !== undefined || data?.['data-file'] !== undefined) {
      throw new DomainError('invalid', 'The data is refused as a qcow2 image: it refers to another file.')
    }
    if (info['virtual-size'] !== header.virtualSizeBytes) {
      throw new DomainError('invalid', 'The data is refused as a qcow2 image: its size is not clear.')
    }
    return header.virtualSizeBytes
  },
})

async function firstBytes(path: string): Promise<Buffer> {
  const file = await open(path, 'r')
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(headerBytes), 0, headerBytes, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}

async function qemuInfo(path: string): Promise<QemuInfo> {
  try {
    const args = [...limits, 'qemu-img', 'info', '-f', 'qcow2', '--output=json', `file:${path}`]
    const { stdout } = await run('prlimit', args, { timeout: timeoutMs, maxBuffer: 1024 * 1024 })
    return JSON.parse(stdout) as QemuInfo
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new DomainError('unavailable', 'qemu-img or prlimit is missing on this machine.', {
        cause: error,
      })
    }
    throw new DomainError('invalid', 'The data is refused as a qcow2 image: QEMU cannot read it.', {
      detail: messageOf(error),
      cause: error,
    })
  }
}
