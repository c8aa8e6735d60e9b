import { messageOf, type Caller } from '@volant/contract'
import type { Logger } from 'pino'
import type { Backend } from '../ports/backend.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { CopyRecords } from '../ports/records.ts'

/**
 * Retires sources whose retention time is over. The row goes only after the image: a crash between the two finds
 * an image that is gone already, which is what "ensure" means. A node that does not answer is tried next time.
 * The copies of a volume that an operation works on are left to it: a migration has still to settle its source.
 * A copy is given up before it goes, so that an undo that begins at the last moment does not make it the truth.
 */
export async function retireSources(ports: {
  copies: Pick<CopyRecords, 'retiredBefore' | 'giveUp' | 'remove'>
  backend: Pick<Backend, 'ensureNoImage'>
  engine: Pick<OperationEngine, 'holderOf'>
  caller: Caller
  clock: Clock
  log: Logger
}): Promise<number> {
  let retired = 0
  const now = ports.clock.now().toISOString()
  for (const copy of await ports.copies.retiredBefore(now)) {
    try {
      if ((await ports.engine.holderOf(`volume/${copy.volumeId}`)) !== undefined) continue
      if (!(await ports.copies.giveUp(copy.imageId, now))) continue
      await ports.backend.ensureNoImage(ports.caller, copy)
      await ports.copies.remove(copy.imageId)
      retired += 1
    } catch (error) {
      ports.log.warn({ imageId: copy.imageId, err: error }, `a retained source stays: ${messageOf(error)}`)
    }
  }
  return retired
}
