/** What an operator wants of an operation, brought to its parts. */
import { isDomainError } from '@volant/contract'
import type { RunRecord } from '@volant/saga'
import type { OperationEngine } from '../ports/operations.ts'

export type PartsEngine = Pick<OperationEngine, 'pause' | 'resume' | 'setRate' | 'cancel'>

/** Brings the pause to each of them, and the rate, which is what each may have for itself. */
export async function bringToParts(
  engine: PartsEngine,
  parts: readonly RunRecord[],
  { paused, rate }: { paused: boolean; rate: number | null },
): Promise<void> {
  for (const run of parts) {
    await unlessOver(async () => {
      if (run.control.paused !== paused && run.state !== 'needs-attention') {
        await (paused ? engine.pause(run.id) : engine.resume(run.id))
      }
      if (run.control.rate !== rate) await engine.setRate(run.id, rate)
    })
  }
}

/** A part that has just ended, or is at its end, takes no wish. */
export async function unlessOver(wish: () => Promise<void>): Promise<void> {
  try {
    await wish()
  } catch (error) {
    if (!isDomainError(error) || (error.code !== 'conflict' && error.code !== 'notFound')) throw error
  }
}
