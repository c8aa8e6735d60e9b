import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { DomainError } from '@volant/contract'

/**
 * Whether a storage daemon of this machine has the file open: QEMU holds open-file-description locks on what it
 * has open, and /proc/locks names them by device and inode.
 */
export async function isOpenInQemu(path: string): Promise<boolean> {
  let found
  try {
    found = await stat(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
  return (await lockedPlaces()).has(lockPlace(found))
}

/** A file as /proc/locks names it. */
export function lockPlace({ dev, ino }: { dev: number; ino: number }): string {
  const hex = (n: number): string => n.toString(16).padStart(2, '0')
  const major = ((dev >>> 8) & 0xfff) | (Math.floor(dev / 2 ** 32) & ~0xfff)
  const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00)
  return `${hex(major)}:${hex(minor)}:${ino}`
}

/** Reading it waits for all processors, some 10 ms: one look for all who ask at once. */
const locksNow = shared(() => readFile('/proc/locks', 'utf8'))

/** All files that a process of this machine has a lock on, by `lockPlace`. */
export async function lockedPlaces(): Promise<Set<string>> {
  const words = (await locksNow()).split(/\s+/)
  return new Set(words.filter((word) => /^[0-9a-f]+:[0-9a-f]+:\d+$/.test(word)))
}

/**
 * Waits until nothing of a daemon that has ended can reach the file any more. A request that was given to the
 * kernel may outlive its process, and it keeps the file, and so the lock, until it is done. Throws `unavailable`.
 */
export async function waitUntilClosed(path: string, timeoutMs = 5000): Promise<void> {
  for (const end = performance.now() + timeoutMs; await isOpenInQemu(path); await sleep(2)) {
    if (performance.now() < end) continue
    throw new DomainError(
      'unavailable',
      `${path} is still open in a storage daemon; requests of it may be under way.`,
    )
  }
}

/** QEMU locks one byte for each permission that it has on a file, from 100 on; the second is that to write. */
const writeLock = 101

/** Whether a storage daemon or converter of this machine may write to the file; one that only reads it may not. */
export async function isWritableInQemu(path: string): Promise<boolean> {
  const place = lockPlace(await stat(path))
  const locks = (await locksNow()).matchAll(/OFDLCK .* (\S+:\d+) (\d+) (\d+|EOF)$/gm)
  return [...locks].some(
    ([, at, first, last]) =>
      at === place && Number(first) <= writeLock && (last === 'EOF' || writeLock <= Number(last)),
  )
}

/**
 * Waits until nobody can write to the file. QEMU's locks keep two storage daemons from nothing: what an export stands on
 * is shared for writing. They only tell that it is open, so whoever opens an image for a client asks first. Throws
 * `conflict`.
 */
export async function waitUntilUnwritten(path: string, timeoutMs = 5000): Promise<void> {
  for (const end = performance.now() + timeoutMs; await isWritableInQemu(path); await sleep(2)) {
    if (performance.now() > end) throw stillWritten(path)
  }
}

/**
 * The same at a fence, whose proof is that no request of the last writer is under way: only what processes have open
 * counts. Locks are slow to read, and a client waits here. Not counted are those `besides`: one that has the file open already
 * and writes nothing before this has returned, and one whose own proof the caller waits for.
 */
export async function waitUntilNoWriter(
  path: string,
  besides: readonly number[] = [],
  timeoutMs = 2000,
): Promise<void> {
  const place = lockPlace(await stat(path))
  const isWritten = async (): Promise<boolean> => {
    const others = ((await openNow()).get(place) ?? []).filter(({ pid }) => !besides.includes(pid))
    return others.some(({ info }) => isToWrite(textOf(info)))
  }
  for (const end = performance.now() + timeoutMs; await isWritten(); await sleep(2)) {
    if (performance.now() > end) throw stillWritten(path)
  }
}

const stillWritten = (path: string): DomainError =>
  new DomainError('conflict', `${path} is open for writing in another storage daemon.`)

/** What storage daemons, guests and converters of this machine have open, by `lockPlace`. */
const openNow = shared(async () => {
  const open = new Map<string, OpenFile[]>()
  for (const pid of openers()) {
    for (const file of filesOf(pid)) open.set(file.place, [...(open.get(file.place) ?? []), file])
  }
  return open
})

/** Programs that images are opened by, as /proc/PID/comm has them. */
const openerName = /^(qemu-|volant-copy)/

const openers = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && openerName.test(textOf(`/proc/${name}/comm`)))
    .map(Number)

/** Whether the process has the file open. */
export function hasOpen(pid: number, path: string): boolean {
  const wanted = lockPlace(statSync(path))
  return filesOf(pid).some(({ place }) => place === wanted)
}

interface OpenFile {
  pid: number
  place: string
  /** Of the kernel: how it was opened. */
  info: string
}

/** The files that a process has open. */
function filesOf(pid: number): OpenFile[] {
  const files: OpenFile[] = []
  for (const name of namesIn(`/proc/${pid}/fd`)) {
    const link = `/proc/${pid}/fd/${name}`
    const isFile = ifThere(() => readlinkSync(link))?.startsWith('/') === true
    const file = isFile ? ifThere(() => statSync(link)) : undefined
    if (file?.isFile() !== true) continue
    files.push({ pid, place: lockPlace(file), info: `/proc/${pid}/fdinfo/${name}` })
  }
  return files
}

/** The flags of open(2), in octal; the last two bits are 0 for reading only. */
const isToWrite = (info: string): boolean => {
  const flags = /^flags:\s*([0-7]+)$/m.exec(info)?.[1]
  return flags !== undefined && Number.parseInt(flags, 8) % 4 !== 0
}

const textOf = (path: string): string => ifThere(() => readFileSync(path, 'utf8')) ?? ''
const namesIn = (folder: string): string[] => ifThere(() => readdirSync(folder)) ?? []

/** A look that begins after each call, one at a time: who asks while it is under way has the next. */
function shared<T>(look: () => Promise<T>): () => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  let next: Promise<T> | undefined
  return () => {
    next ??= last
      .catch(() => {}) // its own callers were told
      .then(() => setImmediate())
      .then(() => {
        next = undefined
        const mine = look()
        last = mine
        return mine
      })
    return next
  }
}

/** A process may end while it is looked at. */
function ifThere<T>(look: () => T): T | undefined {
  try {
    return look()
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(String((error as NodeJS.ErrnoException).code))) return undefined
    throw error
  }
}
