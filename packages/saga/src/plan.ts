/**
 * What a run does next. Everything here is a pure function of the operation's shape, the run's log (folded into
 * a `Position`), the operator's wishes and the time, so that every tricky choice can be tested without any I/O;
 * `driver.ts` carries the choices out.
 */
import { spoken } from './duration.ts'
import { hasWayBack, type OperationNode, type Watch } from './operation.ts'
import { apply, isElsewhere, type Position, type Shape } from './position.ts'
import type { Control, EndedState, LogEntry, RunState } from './types.ts'
import type { RunView } from './store.ts'

export type Action =
  /** Call `do` of the step or commit. */
  | { type: 'do'; index: number }
  /** Call `until` of the wait. While `held` (paused) its `done` is not acted upon. */
  | { type: 'look'; index: number; held: boolean }
  /** Call `happened` of the commit. */
  | { type: 'ask'; index: number }
  | { type: 'undo'; index: number }
  /** Call `back.until` of the wait. */
  | { type: 'look-back'; index: number }
  /** Do nothing until this time (epoch milliseconds), or until woken. */
  | { type: 'sleep'; until: number }
  /** Do nothing until woken. */
  | { type: 'idle'; why: 'paused' | 'attention' }
  | { type: 'end'; state: EndedState }

/** A log entry before it has its place and time. */
export type Fact = Omit<LogEntry, 'seq' | 'at'>

export interface Situation {
  position: Position
  control: Control
  /** Epoch milliseconds. */
  now: number
  /** When the wait under way is to be looked at again; null: now. */
  lookAt: number | null
  /** When the wait under way was last seen to have advanced; null: not yet. */
  advancedAt: number | null
}

export interface Settled {
  position: Position
  /** The facts given, followed by those that the plan itself wants on record before the action. */
  facts: Fact[]
  action: Action
  view: RunView
  /** The action may begin only if no cancel has been promised in the meantime. */
  unlessCancelled: boolean
}

type Planned = Action | { type: 'note'; fact: Fact }

/** Adds the facts, then whatever has to be on record before the next action: all of it fits into one write. */
export function settle(shape: Shape, situation: Situation, facts: readonly Fact[]): Settled {
  let position = situation.position
  const all: Fact[] = []
  const add = (fact: Fact): void => {
    all.push(fact)
    position = apply(shape, position, { ...fact, seq: 0, at: new Date(situation.now).toISOString() })
  }
  const now = (): Situation => ({
    ...situation,
    position,
    // What was seen of the wait that it has left says nothing about the next, or about the way back.
    ...(isElsewhere(situation.position, position) && { lookAt: null, advancedAt: null }),
  })
  facts.forEach(add)
  let planned = plan(shape, now())
  while (planned.type === 'note') {
    add(planned.fact)
    planned = plan(shape, now())
  }
  if (planned.type === 'end') add({ event: 'ended', step: null, state: planned.state })
  const view = viewOf(shape, position, situation.control, planned)
  return {
    position,
    facts: all,
    action: planned,
    view,
    unlessCancelled: mustAskFirst(shape, position, planned),
  }
}

export function plan(shape: Shape, situation: Situation): Planned {
  const { position, control } = situation
  if (position.attention) return { type: 'idle', why: 'attention' }
  if (position.direction === 'backward') return backward(shape, situation)
  const node = shape.nodes[position.index]
  const undoable = !position.committed && !position.asking && !(node?.type === 'commit' && position.started)
  if (control.cancelRequested && undoable) {
    return note({ event: 'cancelled', step: (node ?? shape.nodes.at(-1))?.name ?? null })
  }
  if (position.asking) return later(situation) ?? { type: 'ask', index: position.index }
  if (!node) return { type: 'end', state: 'succeeded' }
  if (control.paused && position.pausedSince === null) return note({ event: 'paused', step: node.name })
  if (!control.paused && position.pausedSince !== null) return note({ event: 'continued', step: node.name })
  return forward(node, situation)
}

function forward(node: OperationNode, situation: Situation): Planned {
  const { position, control } = situation
  if (control.paused && node.type !== 'wait') return { type: 'idle', why: 'paused' }
  const pause = later(situation)
  if (pause) return pause
  if (!position.started) return note({ event: 'started', step: node.name })
  if (node.type !== 'wait') return { type: 'do', index: position.index }

  const deadline = deadlineOf(node, situation)
  if (!control.paused && situation.now >= deadline.at) {
    const decision = position.committed ? 'attention' : 'unwind'
    return note(overdue('failed', node.name, deadline.why, decision))
  }
  const lookAt = situation.lookAt ?? situation.now
  if (lookAt > situation.now) {
    return { type: 'sleep', until: control.paused ? lookAt : Math.min(lookAt, deadline.at) }
  }
  return { type: 'look', index: position.index, held: control.paused }
}

/** An undo that fails is not worth giving up for: it is tried again, then a person is called. So is a way back. */
function backward(shape: Shape, situation: Situation): Planned {
  const { position } = situation
  const index = undoIndex(shape, position)
  if (index < 0) return { type: 'end', state: position.cancelled ? 'cancelled' : 'failed' }
  const node = shape.nodes[index]
  const wayBack = node?.type === 'wait' ? node.back : null
  if (!node || !wayBack) return later(situation) ?? { type: 'undo', index }

  const pause = later(situation)
  if (pause) return pause
  const deadline = deadlineOf(wayBack, situation)
  if (situation.now >= deadline.at) {
    return note(overdue('undo-failed', node.name, `(on the way back) ${deadline.why}`, 'attention'))
  }
  const lookAt = situation.lookAt ?? situation.now
  if (lookAt > situation.now) return { type: 'sleep', until: Math.min(lookAt, deadline.at) }
  return { type: 'look-back', index }
}

/** The step to undo next, or the wait to go back through; -1: all is undone. */
const undoIndex = (shape: Shape, position: Position): number =>
  shape.nodes.findLastIndex((node, i) => i <= position.index && hasWayBack(node))

function later({ position, now }: Situation): Action | null {
  return position.notBefore !== null && position.notBefore > now
    ? { type: 'sleep', until: position.notBefore }
    : null
}

const note = (fact: Fact): Planned => ({ type: 'note', fact })

/** The bound of a wait, or of its way back, that strikes first. */
function deadlineOf(node: Watch, { position, advancedAt }: Situation): { at: number; why: string } {
  const inAll = position.startedAt + (node.timeoutMs ?? Infinity)
  const since = Math.max(position.startedAt, position.continuedAt ?? 0, advancedAt ?? 0)
  const standstill = since + (node.stallMs ?? Infinity)
  return inAll <= standstill
    ? { at: inAll, why: `did not come true within ${spoken(node.timeoutMs ?? 0)}` }
    : { at: standstill, why: `made no progress for ${spoken(node.stallMs ?? 0)}` }
}

const overdue = (
  event: 'failed' | 'undo-failed',
  step: string,
  why: string,
  decision: 'unwind' | 'attention',
): Fact => ({
  event,
  step,
  failure: { class: 'final', code: null, message: `${step} ${why}` },
  decision,
})

/** Whoever asked for a cancel and was told yes must get it: the point of no return may not be passed then. */
function mustAskFirst(shape: Shape, position: Position, action: Action): boolean {
  if (action.type === 'do') return shape.nodes[action.index]?.type === 'commit'
  return action.type === 'end' && action.state === 'succeeded' && !position.committed
}

function viewOf(shape: Shape, position: Position, control: Control, action: Action): RunView {
  const index = position.direction === 'backward' ? undoIndex(shape, position) : position.index
  const node = shape.nodes[index]
  const undoable = position.direction === 'forward' && !position.committed && !position.asking
  return {
    state: stateOf(node, position, control, action),
    step: action.type === 'end' ? null : (node?.name ?? null),
    cancellable: undoable && action.type !== 'end' && !(node?.type === 'commit' && position.started),
    failure: position.attention ?? position.failure,
  }
}

function stateOf(
  node: OperationNode | undefined,
  position: Position,
  control: Control,
  action: Action,
): RunState {
  if (action.type === 'end') return action.state
  if (action.type === 'idle') return action.why === 'attention' ? 'needs-attention' : 'paused'
  if (position.direction === 'backward') return position.cancelled ? 'cancelling' : 'unwinding'
  if (position.pausedSince !== null && action.type !== 'ask') return 'paused'
  if (control.cancelRequested && !position.committed) return 'cancelling'
  return node?.type === 'wait' ? 'waiting' : 'running'
}
