import { isDomainError } from '@volant/contract'
import { OntapError, ontapCodes, type OntapReason } from '../../domain/ontap/error.ts'
import type { MovementRequest } from '../../domain/ontap/movement.ts'
import { isUnderWay } from '../../domain/flexvol-move.ts'
import type { FlexVol } from '../../domain/volume.ts'
import type { FlexVolMoveRequest, FlexVolMoves } from '../../ports/flexvol-moves.ts'
import { aggregateNamed, ownAggregates, type AggregateSources } from './aggregate-name.ts'

interface MovementSources extends AggregateSources {
  moves: FlexVolMoves
}

/** Checks all of what `movement` asks for that can be checked; what it returns carries it out. */
export async function planMovement(
  sources: MovementSources,
  flexvol: FlexVol,
  movement: MovementRequest,
): Promise<() => Promise<string[]>> {
  const { moves } = sources
  if (movement.destination === undefined) return planSteering(sources, flexvol, movement)
  const target = 'movement.destination_aggregate'
  const request: FlexVolMoveRequest = {
    flexvolId: flexvol.id,
    aggregate: await aggregateNamed(sources, movement.destination, target),
    ...(movement.cutoverWindowSeconds !== undefined && {
      cutoverWindowSeconds: movement.cutoverWindowSeconds,
    }),
    ...(movement.cutoverAction !== undefined && { cutoverAction: movement.cutoverAction }),
  }
  const plan = await moves.plan(request)
  if (!plan.ok) {
    const known = await ownAggregates(sources)
    const reasons = plan.checks
      .filter(({ ok }) => !ok)
      .map(({ name, reason }) => ({
        code: codeOfCheck(name, known.includes(request.aggregate)),
        message: reason,
      }))
    throw refusedMove(reasons, target)
  }
  return async () => {
    try {
      const { operationId } = await moves.start(request)
      if (movement.wish === 'paused') await moves.pause(flexvol.id)
      return [operationId]
    } catch (error) {
      if (!isDomainError(error) || error.code !== 'conflict') throw error
      throw new OntapError(409, ontapCodes.volumeBusy, error.message, target)
    }
  }
}

function refusedMove(reasons: OntapReason[], target: string): OntapError {
  const [first] = reasons
  const code = first?.code ?? ontapCodes.inUse
  const status = code === ontapCodes.noSuchAggregate || code === ontapCodes.invalid ? 400 : 409
  const message = reasons.map((reason) => reason.message).join(' ')
  return new OntapError(status, code, message, target, reasons)
}

/** ONTAP's code for a precondition of a move. */
function codeOfCheck(name: string, aggregateIsKnown: boolean): string {
  if (!aggregateIsKnown && name.includes('aggregate')) return ontapCodes.noSuchAggregate
  if (name.includes('moving') || name.includes('busy')) return ontapCodes.volumeBusy
  if (name.includes('window') || name.includes('action')) return ontapCodes.invalid
  return ontapCodes.inUse
}

/** A wish about the move under way. */
async function planSteering(
  { moves }: MovementSources,
  flexvol: FlexVol,
  { wish, cutoverWindowSeconds, cutoverAction }: MovementRequest,
): Promise<() => Promise<string[]>> {
  const movement = await moves.movementOf(flexvol.id)
  if (movement === undefined || !isUnderWay(movement.move)) {
    throw new OntapError(
      409,
      ontapCodes.inUse,
      `No move of volume ${flexvol.name} is under way. To begin one, give "movement.destination_aggregate.name".`,
      'movement',
    )
  }
  return async () => {
    if (cutoverWindowSeconds !== undefined || cutoverAction !== undefined) {
      await moves.modify(flexvol.id, {
        ...(cutoverWindowSeconds !== undefined && { cutoverWindowSeconds }),
        ...(cutoverAction !== undefined && { cutoverAction }),
      })
    }
    if (wish === 'paused') await moves.pause(flexvol.id)
    if (wish === 'replicating') await moves.resume(flexvol.id)
    if (wish === 'aborted') await moves.abort(flexvol.id)
    if (wish === 'cutover') await moves.trigger(flexvol.id)
    if (wish === 'cutover_wait') await moves.hold(flexvol.id)
    return []
  }
}
