import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { encoding: 'utf8', stdio: 'pipe' }).trim()

/** Why this machine cannot run such a test; false where it can. */
export const skipXfs = process.getuid?.() === 0 ? false : 'only root can mount'

/** A file system whose files can share blocks, for one test: a file behind a loop device with direct I/O. */
export function mountXfs(t: Pick<TestContext, 'after'>, sizeBytes: number): string {
  const folder = mkdtempSync(join(tmpdir(), 'vx-'))
  const [file, path] = [join(folder, 'xfs'), join(folder, 'at')]
  t.after(() => {
    try {
      run('umount', path)
    } catch {
      run('umount', '--lazy', path) // what is still open must not keep the machine's loop devices
    }
    rmSync(folder, { recursive: true, force: true })
  })
  mkdirSync(path)
  writeFileSync(file, '')
  truncateSync(file, sizeBytes)
  run('mkfs.xfs', '-q', '-m', 'reflink=1', '-s', 'size=4096', file)
  const device = run('losetup', '--direct-io=on', '--show', '-f', file)
  try {
    run('mount', device, path)
  } finally {
    run('losetup', '-d', device) // when it is unmounted, by whomever
  }
  return path
}

/** As it is on disk, without what a file system has put aside for later writes. */
export const settleXfs = (path: string): void => {
  run('sync', '-f', path)
  run('xfs_spaceman', '-c', 'prealloc -s', path)
}
