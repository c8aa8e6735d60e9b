import { lstatSync } from 'node:fs'
import type { Stats } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'

/** A file, folder or socket of this machine; links are not followed. */
export interface FoundFile {
  name: string
  path: string
  isFile: boolean
  isFolder: boolean
  /** Which file it is, and its last change: another one under the same name has another token. */
  token: string
  /** Since its last change of content, name or rights. */
  ageSeconds: number
  /** Bytes that it occupies. */
  sizeBytes: number
  dev: number
  ino: number
}

function describe(path: string, stats: Stats): FoundFile {
  const changedMs = Math.max(stats.ctimeMs, stats.mtimeMs)
  return {
    name: basename(path),
    path,
    isFile: stats.isFile(),
    isFolder: stats.isDirectory(),
    token: `file:${stats.dev}:${stats.ino}:${stats.ctimeMs}`,
    // A clock that was set back must not make it old.
    ageSeconds: Math.max(0, (Date.now() - changedMs) / 1000),
    sizeBytes: stats.blocks * 512,
    dev: stats.dev,
    ino: stats.ino,
  }
}

/** Synchronous: for a look that nothing of this process may come after. */
export function findFile(path: string): FoundFile | undefined {
  const stats = lstatSync(path, { throwIfNoEntry: false })
  return stats && describe(path, stats)
}

const isMissing = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')

/** What is in the folder, by name; nothing where there is no such folder. */
export async function filesIn(folder: string): Promise<FoundFile[]> {
  const found: FoundFile[] = []
  let names: string[] = []
  try {
    names = await readdir(folder)
  } catch (error) {
    if (!isMissing(error)) throw error
  }
  for (const name of names.toSorted()) {
    const path = join(folder, name)
    try {
      found.push(describe(path, await lstat(path)))
    } catch (error) {
      if (!isMissing(error)) throw error // else it was removed meanwhile
    }
  }
  return found
}
