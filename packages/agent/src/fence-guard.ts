import { readFileSync } from 'node:fs'
import { DomainError } from '@volant/contract'
import type { Caller } from '@volant/contract'
import { writeJsonDurably } from '@volant/qemu/durable-file.ts'

export interface FenceGuard {
  /** Admits the caller, or throws `staleFence` where a newer control plane has already called this agent. */
  admit(caller: Caller): void
  readonly highest: number
  /** Whether another process has since admitted a newer control plane to the same state. */
  isSuperseded(): boolean
}

/**
 * Remembers the highest fence number that an agent has seen, across restarts and processes where `path` is given. A
 * higher one is on disk before its call does anything: else a crash could let the replaced control plane in again.
 * The file is read at each call: a replaced control plane that still runs has agents of its own on this state.
 */
export function createFenceGuard(path?: string): FenceGuard {
  let highest = path === undefined ? 0 : readHighest(path)
  const highestOnDisk = (): number => (path === undefined ? highest : readHighest(path))
  return {
    get highest() {
      return highest
    },
    isSuperseded: () => highestOnDisk() > highest,
    admit(caller) {
      if (!Number.isSafeInteger(caller.fence) || caller.fence < 0) {
        throw new DomainError('invalid', `The fence number ${caller.fence} is not a whole number from 0 on.`)
      }
      const seen = Math.max(highest, highestOnDisk())
      if (caller.fence < seen) {
        throw new DomainError(
          'staleFence',
          `The caller's fence number ${caller.fence} is older than ${seen}: another control plane has taken over.`,
        )
      }
      if (path !== undefined && caller.fence > seen) writeJsonDurably(path, { highest: caller.fence })
      highest = caller.fence
    },
  }
}

const supersessionPollMs = 1000

/**
 * Calls `release` once a newer control plane acts on the same state: a storage daemon's monitor serves one
 * connection, so the replaced one must let go of it. Does not keep the process alive.
 */
export function onSuperseded(guard: FenceGuard, release: () => void): void {
  const timer = setInterval(() => {
    if (!guard.isSuperseded()) return
    clearInterval(timer)
    release()
  }, supersessionPollMs)
  timer.unref()
}

function readHighest(path: string): number {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0
    throw error
  }
  const highest = (JSON.parse(text) as { highest?: unknown }).highest
  if (typeof highest !== 'number') throw new DomainError('internal', `${path} holds no fence number.`)
  return highest
}
