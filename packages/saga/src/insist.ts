import { isDomainError } from '@volant/contract/errors.ts'
import type { Engine } from './driver.ts'
import { Abandoned } from './faults.ts'

const firstPauseMs = 50
const longestPauseMs = 5000

/**
 * A run cannot go on without its log, and must not be failed because of it: a write that the store does not take
 * is repeated until it does, or until this engine stops or is replaced.
 */
export async function insist<T>(
  engine: Engine,
  runId: string,
  pause: (ms: number) => Promise<void>,
  write: () => Promise<T>,
): Promise<T> {
  for (let ms = firstPauseMs; ; ms = Math.min(ms * 2, longestPauseMs)) {
    if (engine.isDead()) throw new Abandoned()
    try {
      return await write()
    } catch (error) {
      if (engine.isDead()) throw new Abandoned()
      if (isDomainError(error) && (error.code === 'staleFence' || error.code === 'notFound')) throw error
      engine.events.emit({ type: 'store-failed', runId, error })
      if (engine.stopping.aborted) throw new Abandoned()
      await pause(ms)
    }
  }
}
