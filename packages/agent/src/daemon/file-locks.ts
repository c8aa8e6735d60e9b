import { readFile, stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
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

/** All files that a process of this machine has a lock on, by `lockPlace`. */
export async function lockedPlaces(): Promise<Set<string>> {
  const words = (await readFile('/proc/locks', 'utf8')).split(/\s+/)
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

/**
 * Waits until nobody can write to the file. QEMU's locks keep two storage daemons from nothing: what an export stands on
 * is shared for writing. They only tell that it is open, so whoever opens an image for a client asks first. Throws
 * `conflict`.
 */
export async function waitUntilUnwritten(path: string, timeoutMs = 5000): Promise<void> {
  for (const end = performance.now() + timeoutMs; await isWritableInQemu(path); await sleep(2)) {
    if (performance.now() < end) continue
    throw new DomainError('conflict', `${path} is open for writing in another storage daemon.`)
  }
}

/** Whether a storage daemon or converter of this machine may write to the file; one that only reads it may not. */
export async function isWritableInQemu(path: string): Promise<boolean> {
  const place = lockPlace(await stat(path))
  const locks = (await readFile('/proc/locks', 'utf8')).matchAll(/OFDLCK .* (\S+:\d+) (\d+) (\d+|EOF)$/gm)
  return [...locks].some(
    ([, at, first, last]) =>
      at === place && Number(first) <= writeLock && (last === 'EOF' || writeLock <= Number(last)),
  )
}
