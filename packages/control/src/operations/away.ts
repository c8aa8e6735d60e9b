import { isDomainError } from '@volant/contract'
import { setTimeout as sleep } from 'node:timers/promises'

const pauseMs = 250

/**
 * Does what needs an agent. One that stays away for `patienceMs` is left: false. For what is only tidying up on a machine
 * that may never come back; what is left there has no access to storage.
 */
export async function unlessAway(
  { signal }: { signal: AbortSignal },
  patienceMs: number,
  work: () => Promise<unknown>,
): Promise<boolean> {
  const until = performance.now() + patienceMs
  for (;;) {
    try {
      await work()
      return true
    } catch (error) {
      if (!isDomainError(error) || error.code !== 'unavailable') throw error
      if (performance.now() >= until) return false
    }
    await sleep(pauseMs, undefined, { signal })
  }
}
