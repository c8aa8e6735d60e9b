import { messageOf, type Caller } from '@volant/contract'
import type { Logger } from 'pino'
import { isAt } from '../domain/move-order.ts'
import type { Copy } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { CopyRecords, FlexVolRecords } from '../ports/records.ts'

interface RetentionPorts {
  copies: Pick<CopyRecords, 'retiredBefore' | 'giveUp' | 'remove' | 'ofFlexVol'>
  flexvols: Pick<FlexVolRecords, 'find'>
  backend: Pick<Backend, 'ensureNoImage' | 'ensureNoFlexVolAt'>
  engine: Pick<OperationEngine, 'holderOf'>
  caller: Caller
  clock: Clock
  log: Logger
}

/**
 * Retires sources whose retention time is over. The row goes only after the image: a crash between the two finds
 * an image that is gone already, which is what "ensure" means. A node that does not answer is tried next time.
 * The copies of a volume that an operation works on are left to it: a migration has still to settle its source.
 * A copy is given up before it goes, so that an undo that begins at the last moment does not make it the truth.
 * The last one that a FlexVol has on an aggregate that it has left takes the FlexVol's folder there along.
 */
export async function retireSources(ports: RetentionPorts): Promise<number> {
  let retired = 0
  const now = ports.clock.now().toISOString()
  for (const copy of await ports.copies.retiredBefore(now)) {
    try {
      if ((await ports.engine.holderOf(`volume/${copy.volumeId}`)) !== undefined) continue
      if (!(await ports.copies.giveUp(copy.imageId, now))) continue
      await ports.backend.ensureNoImage(ports.caller, copy)
      await ports.copies.remove(copy.imageId)
      retired += 1
      await leaveIfLast(ports, copy)
    } catch (error) {
      ports.log.warn({ imageId: copy.imageId, err: error }, `a retained source stays: ${messageOf(error)}`)
    }
  }
  return retired
}

/** A move that is under way looks after its folders itself. */
async function leaveIfLast({ flexvols, copies, backend, engine, caller }: RetentionPorts, gone: Copy) {
  const flexvol = await flexvols.find(gone.flexvolId)
  if (flexvol === undefined || isAt(gone, flexvol)) return
  if ((await engine.holderOf(`flexvol/${flexvol.id}`)) !== undefined) return
  if ((await copies.ofFlexVol(flexvol.id)).some((copy) => isAt(copy, gone))) return
  await backend.ensureNoFlexVolAt(caller, flexvol, { node: gone.node, aggregate: gone.aggregate })
}
