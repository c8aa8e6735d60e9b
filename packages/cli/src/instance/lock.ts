import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** `STATE/lock`: an empty file, on which who has the state folder holds SQLite's lock. */
const lockFile = 'lock'
const busy = 5

export interface Lock {
  release(): void
}

/**
 * Locks the state folder for this process; undefined where another one has it. It is a lock of the kernel's on the
 * file itself: it holds by whatever path, symlink, mount or pid namespace the other one came, children do not
 * inherit it, and it is free as soon as its process is dead. Node has no call for it, SQLite takes one.
 */
export function lockStateFolder(stateDir: string): Lock | undefined {
  const db = new DatabaseSync(join(stateDir, lockFile), { timeout: 0 })
  try {
    // No journal on disk: nothing is ever written.
    db.exec('pragma journal_mode = memory; begin exclusive')
  } catch (error) {
    db.close()
    if ((error as { errcode?: number }).errcode === busy) return undefined
    throw error
  }
  return { release: () => db.close() }
}
