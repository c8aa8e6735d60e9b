/** A file system of its own size, on a loop device, that a test can fill up. Needs root, as the namespaces do. */
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'

export interface SmallDisk {
  path: string
  /** Takes all that is free, but for a block or two. */
  fill(): void
  /** Gives it back. */
  free(): void
  close(): void
}

export function openSmallDisk(sizeMiB: number): SmallDisk {
  // Not on tmpfs: images are opened with O_DIRECT.
  const folder = mkdtempSync('/var/tmp/vs-')
  const path = join(folder, 'disk')
  const device = join(folder, 'blocks')
  const filler = join(path, 'filler')
  const run = (program: string, ...args: string[]): void =>
    void execFileSync(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  mkdirSync(path)
  try {
    run('truncate', '-s', `${sizeMiB}M`, device)
    // Without blocks held back for root, which would not be full when it is.
    run('mkfs.ext4', '-q', '-F', '-m', '0', device)
    run('mount', '-o', 'loop', device, path)
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    throw error
  }
  return {
    path,
    fill() {
      // Some blocks come back when what was promised for the file's own table of blocks turns out not to be needed.
      for (let round = 0; round < 20 && statfsSync(path).bavail > 0; round++) {
        const fd = openSync(filler, 'a')
        try {
          for (const size of [1 << 20, 4096]) writeUntilFull(fd, Buffer.alloc(size, 1))
        } finally {
          closeSync(fd)
        }
      }
    },
    free: () => rmSync(filler, { force: true }),
    close() {
      run('umount', path)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function writeUntilFull(fd: number, block: Buffer): void {
  try {
    for (;;) {
      writeSync(fd, block)
      // Space that was only promised is found out at the latest here.
      if (block.length > 4096) fsyncSync(fd)
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  }
  try {
    fsyncSync(fd)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  }
}
