import { createHash } from 'node:crypto'
import { lstatSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DomainError } from '@volant/contract/errors.ts'
import { ensurePrivateFolder } from '@volant/qemu'

/** Where a control plane keeps everything that must survive it. Who may use it is settled before (`volant serve`). */
export interface StateFolder {
  path: string
  database: string
  /** Sockets: short, because a Unix socket's path has at most 107 bytes. */
  run: string
}

/** The longest name below `run`, so that the whole path fits. */
const longestSocketName = 50

export function openStateFolder(path: string): StateFolder {
  ensurePrivateFolder(path)
  const run = runFolder(path)
  ensurePrivateFolder(run)
  if (isOutside(path, run)) requireOwn(run)
  return { path, run, database: join(path, 'volant.db') }
}

const isOutside = (stateDir: string, run: string): boolean => run !== join(stateDir, 'run')

/** Below /tmp another user may have made a folder of that name first, and would own the sockets in it. */
function requireOwn(folder: string): void {
  const stats = lstatSync(folder)
  if (stats.isDirectory() && stats.uid === process.getuid?.() && (stats.mode & 0o077) === 0) return
  throw new DomainError(
    'conflict',
    `${folder} must be a folder of this user's alone (mode 0700), and is not; remove it, or choose a state folder with a shorter path`,
  )
}

/** Takes away the folder of sockets where it lies outside the state folder; nothing may run any more. */
export function removeOutsideRunFolder(folder: StateFolder): void {
  if (isOutside(folder.path, folder.run)) rmSync(folder.run, { recursive: true, force: true })
}

/** `STATE/run`; for a long path a folder of /tmp that is named after it. */
export function runFolder(stateDir: string): string {
  const inside = join(stateDir, 'run')
  if (inside.length + longestSocketName <= 107) return inside
  const name = createHash('sha256').update(stateDir).digest('hex').slice(0, 16)
  return `/tmp/volant-${process.getuid?.() ?? 0}-${name}`
}
