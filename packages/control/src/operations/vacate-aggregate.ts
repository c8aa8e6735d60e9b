/**
 * # Aggregates are emptied
 *
 * Every FlexVol on them moves to another aggregate of its cluster, by moves that are parts of this operation. It keeps no
 * list: each look finds out anew what is still there, what is on its way, and where there is room, and starts what is
 * next. So a crash, a FlexVol that somebody else moves, and room that is used up meanwhile need nothing of their own.
 *
 *     emptied (a wait) → judge
 *
 * While it holds the aggregates' keys nothing new is placed on them (`ports/vacating.ts`). What can't move stays, and the
 * operation ends as failed with the reason for each. A cancel begins nothing more and cancels the moves under way, which
 * bring back what they have moved; FlexVols that have arrived stay where they are.
 */
import { isDomainError } from '@volant/contract'
import { final, nothingToUndo, operation, retryable, type RunRecord, type CopyControl } from '@volant/saga'
import { aggregateKey } from '../domain/aggregate-name.ts'
import type { PlannedMove, VacateFacts } from '../domain/vacate-plan.ts'
import { isHeld, reasonsOf, vacateProgress, type VacateProgress } from '../domain/vacate-progress.ts'
import type { FlexVolMoves } from '../ports/flexvol-moves.ts'
import type { OperationEngine } from '../ports/operations.ts'
import { unlessOver } from './part-wishes.ts'
import { gatherVacate, placeVacated, type VacateFactsPorts, type VacateWish } from './vacate-facts.ts'

export interface VacateAggregateInput extends VacateWish {
  node: string
  /** All aggregates of the node. */
  whole: boolean
  /** The aggregate's, where it is one. */
  name: string | null
}

export interface VacateAggregatePorts extends VacateFactsPorts {
  moves: Pick<FlexVolMoves, 'movements' | 'plan' | 'start'>
  engine: Pick<OperationEngine, 'get' | 'partsOf' | 'cancel' | 'pause' | 'resume' | 'steer'>
}

/** Moves under way at a time: how many images are copied at once is governed for each node. */
const movesAtOnce = 4

export const vacateAggregate = operation<VacateAggregateInput, VacateAggregatePorts>('aggregate.vacate', {
  version: 1,
})
  .holds((input) => input.aggregates.map((name) => aggregateKey(input.cluster, name)))

  // Of a standstill its moves take care, each with bounds of its own; this one is for what they do not see.
  .wait('emptied', {
    every: '1s',
    stallTimeout: '24h',
    // For what could not be started when nothing else is left to wait for.
    retry: { attempts: 5, backoff: { first: '1s', longest: '10s' } },
    until: async ({ op, input, ports, now, progress }) => {
      const { paused, rate, pace, priority } = op.control
      const wishes = { paused, rate, pace, priority }
      const parts = newestOfEach(await ports.engine.partsOf(op.id))
      await bringWishes(ports, op.id, parts, wishes)
      const facts = await gatherVacate(ports, input)
      const refused = wishes.paused ? new Map<string, string>() : await startNext(ports, op, facts, parts)
      const seen = vacateProgress({ facts, parts, refused, brought: wishes })
      progress(seen)
      const isOver = seen.flexvols.moving === 0 && seen.flexvols.waiting === 0
      if (isOver && refused.size > 0) throw retryable(reasonsOf(seen.stuck))
      const held = isHeld(parts) ? now().toISOString() : null
      return { done: isOver, progress: seen, advance: [seen.flexvols, seen.doneBytes, held] }
    },
    back: {
      every: '1s',
      stallTimeout: '1h',
      until: async ({ op, input, ports, progress }) => {
        const parts = await ports.engine.partsOf(op.id)
        const underWay = parts.filter(isGoing)
        for (const part of underWay) {
          if (!part.control.cancelRequested) await unlessOver(() => ports.engine.cancel(part.id))
        }
        const brought = { paused: false, rate: op.control.rate }
        // Only for show: a node that does not answer keeps nobody from giving up.
        const facts = await gatherVacate(ports, input).catch((error: unknown) => {
          if (!isDomainError(error) || error.code === 'staleFence') throw error
        })
        if (facts !== undefined) {
          progress(vacateProgress({ facts, parts: newestOfEach(parts), refused: new Map(), brought }))
        }
        const advance = underWay.map(({ id, state, progress }) => ({ id, state, progress }))
        return { done: underWay.length === 0, advance }
      },
    },
  })

  .step('judge', {
    do: async ({ op, input, ports }) => {
      const facts = await gatherVacate(ports, input)
      const parts = newestOfEach(await ports.engine.partsOf(op.id))
      const refused = new Map(facts.flexvols.map(({ id }) => [id, 'it came while the others moved']))
      const seen = vacateProgress({ facts, parts, refused, brought: { paused: false, rate: null } })
      if (facts.flexvols.length > 0) throw final(reasonsOf(seen.stuck))
      return { moved: seen.flexvols.moved }
    },
    undo: nothingToUndo,
  })

/** The newest part of each FlexVol, by its id. */
function newestOfEach(parts: readonly RunRecord[]): Map<string, RunRecord> {
  const newest = new Map<string, RunRecord>()
  for (const part of parts) {
    const { flexvolId } = part.input as { flexvolId: string }
    if (!newest.has(flexvolId)) newest.set(flexvolId, part)
  }
  return newest
}

const isGoing = (part: RunRecord | undefined): boolean => part !== undefined && part.endedAt === null

/**
 * What is asked of this operation is asked of its moves, once for each change: what somebody asks of one of them alone
 * holds till then.
 */
async function bringWishes(
  { engine }: VacateAggregatePorts,
  operationId: string,
  parts: ReadonlyMap<string, RunRecord>,
  wishes: CopyControl & { paused: boolean },
): Promise<void> {
  const before = ((await engine.get(operationId)).progress as VacateProgress | null)?.brought
  if (before === undefined) return
  for (const part of [...parts.values()].filter(isGoing)) {
    if (before.paused !== wishes.paused && part.control.paused !== wishes.paused) {
      await unlessOver(() => (wishes.paused ? engine.pause(part.id) : engine.resume(part.id)))
    }
    const { rate, pace, priority } = wishes
    const isNew =
      before.rate !== rate || (before.pace ?? null) !== pace || (before.priority ?? null) !== priority
    if (isNew) await unlessOver(() => engine.steer(part.id, { rate, pace, priority }))
  }
}

/** Starts as many moves as there may be. Returns why others can't be started now, by the FlexVol's id. */
async function startNext(
  ports: VacateAggregatePorts,
  op: { id: string; control: Readonly<CopyControl> },
  facts: VacateFacts,
  parts: Map<string, RunRecord>,
): Promise<Map<string, string>> {
  const refused = new Map<string, string>()
  const idle = facts.flexvols.filter((one) => {
    const part = parts.get(one.id)
    return one.destination === null && (part === undefined || part.state === 'succeeded')
  })
  const going = [...parts.values()].filter(isGoing).length
  if (going >= movesAtOnce || idle.length === 0) return refused
  const placement = await placeVacated(ports, { ...facts, flexvols: idle })
  for (const one of placement.stuck) refused.set(one.flexvol.id, one.reason)
  for (const move of placement.moves.slice(0, movesAtOnce - going)) {
    const begun = await begin(ports, op, move)
    if (typeof begun === 'string') refused.set(move.flexvol.id, begun)
    else parts.set(move.flexvol.id, begun)
  }
  return refused
}

/** The part that moves it, or why it was refused. */
async function begin(
  { moves, engine }: VacateAggregatePorts,
  op: { id: string; control: Readonly<CopyControl> },
  { flexvol, to }: PlannedMove,
): Promise<RunRecord | string> {
  const { rate, pace, priority } = op.control
  try {
    const { operationId } = await moves.start({
      flexvolId: flexvol.id,
      aggregate: to.aggregate,
      parent: op.id,
      ...(rate !== null && { rate }),
      ...(pace !== null && { pace }),
      ...(priority !== null && { priority }),
    })
    return await engine.get(operationId)
  } catch (error) {
    if (isDomainError(error) && error.code !== 'staleFence') return error.message
    throw error
  }
}
