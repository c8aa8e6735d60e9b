/** What an operator may ask of a run, by where it is. Pure: one table for the engine, the API and what is shown. */
import { DomainError } from '@volant/contract/errors.ts'
import type { OperationNode } from './operation.ts'
import type { Position, Shape } from './position.ts'
import { hasEnded, type RunRecord } from './types.ts'

/**
 * - `pause`   between two steps, and in waits
 * - `resume`  ends a pause; has the step that needs attention tried again
 * - `cancel`  undoes what was done; until the commit begins
 * - `rate`    changes the bound of its copying, or what else is wanted of its pace
 * - `skip`    leaves out the step (or the undo) that needs attention, where its author declared that safe
 * - `decide`  says whether the commit happened, where the world does not answer
 */
export const wishes = ['pause', 'resume', 'cancel', 'rate', 'skip', 'decide'] as const
export type Wish = (typeof wishes)[number]

/** A run and where it is. */
export interface Placed {
  shape: Shape
  run: RunRecord
  position: Position
}

/** The wishes that change something now. `pause` and `cancel` may be repeated all the same. */
export function possibleWishes(placed: Placed): Wish[] {
  const { control } = placed.run
  return wishes.filter((wish) => {
    if (wish === 'pause' && control.paused) return false
    if (wish === 'cancel' && control.cancelRequested) return false
    return whyNot(wish, placed) === null
  })
}

/** Why the step that needs attention, or its undo, may be left out; null: it may not. */
export function skipReason({ shape, run, position }: Placed): string | null {
  const node = nodeOf(shape, run)
  if (!position.attention || position.asking || node?.type !== 'step') return null
  return position.direction === 'forward' ? node.skip : node.skipUndo
}

const nodeOf = (shape: Shape, run: RunRecord): OperationNode | undefined =>
  shape.nodes.find((node) => node.name === run.step)

/** Null: it may be asked for. */
function whyNot(wish: Wish, placed: Placed): string | null {
  const { run, position } = placed
  if (hasEnded(run.state)) return 'it has ended'
  const undoing = position.direction === 'backward' || run.control.cancelRequested
  switch (wish) {
    case 'pause':
      if (undoing) return 'what is being undone cannot be paused'
      return position.attention ? 'it stands still already' : null
    case 'resume':
      return position.attention || (run.control.paused && !undoing) ? null : 'it is not paused'
    case 'cancel':
      if (run.cancellable || run.control.cancelRequested) return null
      return undoing ? 'it is being undone already' : 'it can be undone no more, and can only go on'
    case 'rate':
      return undoing && !isGoingBack(placed) ? 'what is being undone copies nothing' : null
    case 'skip':
      return whyNoSkip(placed)
    case 'decide':
      return position.attention && position.asking ? null : 'nobody has to say whether its commit happened'
  }
}

/** Whether it stands on the way back through a wait, which may copy. */
const isGoingBack = ({ shape, run, position }: Placed): boolean =>
  position.direction === 'backward' && nodeOf(shape, run)?.type === 'wait'

function whyNoSkip(placed: Placed): string | null {
  const { position, run } = placed
  if (!position.attention) return 'only a step that needs attention can be skipped'
  if (position.asking) return 'a commit is not skipped: say whether it happened'
  if (skipReason(placed) !== null) return null
  const what = position.direction === 'forward' ? 'step' : 'the undo of'
  return `it is not safe to leave ${what} '${run.step ?? ''}' out: remove the cause, then resume`
}

/** Throws `conflict`, with the state and with what is possible, where the wish cannot be fulfilled. */
export function requirePossible(wish: Wish, placed: Placed): void {
  const why = whyNot(wish, placed)
  if (why !== null) throw refusedWish(placed.run, why, possibleWishes(placed))
}

/** For example: Operation ID (volume.migrate) is running at 'cutover': it can be undone no more. Possible now: rate. */
export function refusedWish(run: RunRecord, why: string, possible: readonly Wish[]): DomainError {
  const place = hasEnded(run.state)
    ? `has ended: it is ${run.state}`
    : `is ${run.state} at '${run.step ?? ''}': ${why}`
  const now = possible.length > 0 ? ` Possible now: ${possible.join(', ')}.` : ''
  const detail = { runId: run.id, state: run.state, step: run.step, possible }
  return new DomainError('conflict', `Operation ${run.id} (${run.kind}) ${place}.${now}`, { detail })
}
