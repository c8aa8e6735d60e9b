import { chmodSync, closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { DomainError, messageOf } from '@volant/contract'
import { reasonOf } from './dialects/sqlite-error.ts'

/**
 * Copies the database before migration `before` changes it, to `backup/` beside it; returns the copy's path. It is
 * on disk when this returns. Throws `unavailable` where there is no room: the upgrade is not begun without it.
 */
export function backUpDatabase(path: string, before: string, at: Date): string {
  const folder = join(dirname(path), 'backup')
  const time = at.toISOString().slice(0, 19).replaceAll(/[-:]/g, '')
  const copy = join(folder, `volant-before-${before}-${time}Z.db`)
  const part = `${copy}.part`
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    rmSync(part, { force: true })
    const db = new DatabaseSync(path, { readOnly: true, timeout: 5000 })
    try {
      db.prepare('vacuum into ?').run(part)
    } finally {
      db.close()
    }
    chmodSync(part, 0o600)
    sync(part)
    renameSync(part, copy)
    sync(folder)
  } catch (error) {
    try {
      rmSync(part, { force: true })
    } catch {
      // Where nothing could be made there is nothing to remove.
    }
    throw new DomainError(
      'unavailable',
      `The database ${path} could not be copied to ${folder} before its upgrade: ${reasonOf(error) ?? messageOf(error)}. Nothing was changed; the upgrade is not begun without a copy.`,
      { cause: error },
    )
  }
  return copy
}

function sync(path: string): void {
  const file = openSync(path, 'r')
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}
