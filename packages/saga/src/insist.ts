import { isDomainError } from '@volant/contract/errors.ts'
import type { Engine } from './driver.ts'
import { Abandoned } from './faults.ts'

/**
 * A run cannot go on without its log, and must not be failed because of it: a write that the store does not take
 * is repeated until it does, or until this engine stops or is replaced. What the write says was done meanwhile, and is
 * not done again.
 */
export async function insist<T>(
  engine: Engine,
  runId: string,
  pause: (ms: number) => Promise<void>,
  write: () => Promise<T>,
): Promise<T> {
  const { health, stopping } = engine
  const isOver = (): boolean => engine.isDead() || stopping.aborted
  const writer = {}
  try {
    for (;;) {
      if (engine.isDead()) throw new Abandoned()
      try {
        const result = await write()
        health.worked()
        return result
      } catch (error) {
        if (engine.isDead()) throw new Abandoned()
        if (isDomainError(error) && (error.code === 'staleFence' || error.code === 'notFound')) throw error
        health.failed(runId, error)
        if (stopping.aborted) throw new Abandoned()
        await health.turn(writer, pause, isOver)
      }
    }
  } finally {
    health.leave(writer)
  }
}
