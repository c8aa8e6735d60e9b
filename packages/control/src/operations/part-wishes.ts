/** What an operator wants of an operation, brought to its parts. */
import { isDomainError } from '@volant/contract'
import type { CopyControl, RunRecord } from '@volant/saga'
import type { OperationEngine } from '../ports/operations.ts'

export type PartsEngine = Pick<OperationEngine, 'pause' | 'resume' | 'steer' | 'cancel'>

/** Brings the pause to each of them, the pace, and the rate, which is what each may have for itself. */
export async function bringToParts(
  engine: PartsEngine,
  parts: readonly RunRecord[],
  { paused, rate, pace, priority }: CopyControl & { paused: boolean },
): Promise<void> {
  for (const run of parts) {
    const { control } = run
    await unlessOver(async () => {
      if (control.paused !== paused && run.state !== 'needs-attention') {
        await (paused ? engine.pause(run.id) : engine.resume(run.id))
      }
      if (control.rate !== rate || control.pace !== pace || control.priority !== priority) {
        await engine.steer(run.id, { rate, pace, priority })
      }
    })
  }
}

/** What of its wishes a part is started with. */
export const startWishes = ({ rate, pace, priority }: CopyControl): Partial<CopyControl> => ({
  ...(rate !== null && { rate }),
  ...(pace !== null && { pace }),
  ...(priority !== null && { priority }),
})

/** A part that has just ended, or is at its end, takes no wish. */
export async function unlessOver(wish: () => Promise<void>): Promise<void> {
  try {
    await wish()
  } catch (error) {
    if (!isDomainError(error) || (error.code !== 'conflict' && error.code !== 'notFound')) throw error
  }
}
