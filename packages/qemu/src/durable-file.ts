import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'

const temporaryOf = (path: string): string => `${path}.new`

/**
 * Replaces a file by JSON such that after a crash at any moment, of the machine too, either the old content or
 * the new one is there. Synchronous on purpose: a record is small, and what follows depends on it.
 */
export function writeJsonDurably(path: string, value: unknown): void {
  const temporary = temporaryOf(path)
  const fd = openSync(temporary, 'w', 0o600)
  try {
    writeSync(fd, `${JSON.stringify(value, null, 2)}\n`)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  renameSync(temporary, path)
  syncFolder(dirname(path))
}

/**
 * The same, while the process goes on. It takes effect in one moment, the rename, and not where `isNewest` denies it by then:
 * whoever has written the file meanwhile wrote what is newer. One at a time for each file.
 */
export async function writeJsonBeside(path: string, value: unknown, isNewest: () => boolean): Promise<void> {
  const temporary = `${path}.beside`
  const file = await open(temporary, 'w', 0o600)
  try {
    await file.writeFile(`${JSON.stringify(value, null, 2)}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  if (!isNewest()) return unlinkIfThere(temporary)
  renameSync(temporary, path)
  await syncFolderBeside(dirname(path))
}

/** Synchronous: a fence waits for it, and nothing is read or written but a folder. */
function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

/** The file's JSON, or undefined where there is no such file. */
export function readJson(path: string): unknown {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  return JSON.parse(text)
}

/**
 * A record on disk that one place writes. The disk may be slow, so writing does not hold the process up; an
 * awaited `write` means that this value, or a later one, is on disk.
 */
export class RecordFile<T> {
  readonly #path: string
  #value: T | undefined
  #running: Promise<void> = Promise.resolve()
  #queued: Promise<void> | undefined
  #removed = false

  constructor(path: string) {
    this.#path = path
  }

  write(value: T): Promise<void> {
    this.#value = value
    this.#queued ??= this.#running
      .catch(() => {}) // its own caller was told
      .then(() => {
        this.#queued = undefined
        this.#running = this.#removed ? Promise.resolve() : this.#writeNow()
        return this.#running
      })
    return this.#queued
  }

  /** Removes the file durably; what is written afterwards goes nowhere. */
  async remove(): Promise<void> {
    await this.unlink()
    await syncFolderBeside(dirname(this.#path))
  }

  /** Removes the file for every process of this machine; only a crash of the machine could bring it back. */
  async unlink(): Promise<void> {
    this.#removed = true
    await (this.#queued ?? this.#running).catch(() => {})
    unlinkIfThere(this.#path)
    // Of a process that died as it wrote.
    unlinkIfThere(temporaryOf(this.#path))
  }

  async #writeNow(): Promise<void> {
    const temporary = temporaryOf(this.#path)
    const file = await open(temporary, 'w', 0o600)
    try {
      await file.writeFile(`${JSON.stringify(this.#value, null, 2)}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, this.#path)
    await syncFolderBeside(dirname(this.#path))
  }
}

/** Makes the names in a folder durable (fsync of the directory). */
export function syncFolder(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** The same, while the process goes on. */
export async function syncFolderBeside(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** A folder that only the service's user may enter. */
export function ensurePrivateFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 })
}
