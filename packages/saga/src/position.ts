import type { OperationNode } from './operation.ts'
import type { LogEntry, RunFailure } from './types.ts'

/** The part of an operation that decisions need. */
export interface Shape {
  readonly kind: string
  readonly version: number
  readonly nodes: readonly OperationNode[]
}

/** Where a run is: all that its log says, and nothing that the log does not say. Times are epoch milliseconds. */
export interface Position {
  direction: 'forward' | 'backward'
  /** Forward: the node under way or next. Backward: the node to undo next, -1 when none is left. */
  index: number
  /** The last node ever begun: where unwinding begins, also when a commit that backed out went back to a wait. */
  furthest: number
  /** Whether the intent to do the node at `index` is in the log. */
  started: boolean
  /** Forward: when it was begun. Backward: when its turn to be undone came. */
  startedAt: number
  /** When the last pause ended; null: there was none. */
  continuedAt: number | null
  /** Failures of the node's `do`, `until` or `undo`, or of asking, since it was started or resumed. */
  failures: number
  /** Attempts of the commit that backed out. */
  backedOut: number
  /** No attempt before this time. */
  notBefore: number | null
  /** At the commit, after an error or a crash: `happened()` decides. */
  asking: boolean
  /** The commit's error, while asking; null after a crash. */
  commitFailure: RunFailure | null
  committed: boolean
  outputs: Record<string, unknown>
  cancelled: boolean
  failure: RunFailure | null
  /** Why the engine may not go on by itself. */
  attention: RunFailure | null
  pausedSince: number | null
}

export const startPosition: Position = {
  direction: 'forward',
  index: 0,
  furthest: 0,
  started: false,
  startedAt: 0,
  continuedAt: null,
  failures: 0,
  backedOut: 0,
  notBefore: null,
  asking: false,
  commitFailure: null,
  committed: false,
  outputs: {},
  cancelled: false,
  failure: null,
  attention: null,
  pausedSince: null,
}

export const replay = (shape: Shape, log: readonly LogEntry[]): Position =>
  log.reduce((position, entry) => apply(shape, position, entry), startPosition)

/** What a node that was just reached, forward or backward, starts with. */
const fresh = {
  started: false,
  failures: 0,
  notBefore: null,
  asking: false,
  commitFailure: null,
  attention: null,
}

export function apply(shape: Shape, position: Position, entry: LogEntry): Position {
  const at = Date.parse(entry.at)
  switch (entry.event) {
    case 'started':
      return {
        ...position,
        started: true,
        startedAt: at,
        notBefore: null,
        furthest: Math.max(position.furthest, position.index),
      }
    case 'done':
      return passed(shape, position, entry)
    case 'failed':
      return failed(position, entry)
    case 'not-happened':
      return notHappened(shape, position, entry)
    case 'ask-failed':
    case 'undo-failed':
      return decided(position, entry)
    case 'cancelled':
      return { ...turnedBack(position, at), cancelled: true }
    case 'undone':
      return undone(shape, position, entry)
    case 'adopted':
      return interrupted(shape, position)
    case 'paused':
      return { ...position, pausedSince: at }
    case 'continued':
      return continued(position, at)
    case 'resumed':
      return { ...interrupted(shape, position), failures: 0, notBefore: null, attention: null, startedAt: at }
    case 'skipped':
      return position.direction === 'forward'
        ? passed(shape, position, entry)
        : undone(shape, position, entry)
    case 'ended':
      return position
  }
}

const undone = (shape: Shape, position: Position, entry: LogEntry): Position => ({
  ...position,
  ...fresh,
  index: indexOf(shape, entry) - 1,
  startedAt: Date.parse(entry.at),
})

function indexOf(shape: Shape, entry: LogEntry): number {
  const index = shape.nodes.findIndex((node) => node.name === (entry.to ?? entry.step))
  if (index >= 0) return index
  throw new Error(
    `the log of a '${shape.kind}' version ${shape.version} names a step '${entry.step}' it has not`,
  )
}

function passed(shape: Shape, position: Position, entry: LogEntry): Position {
  const index = indexOf(shape, entry)
  const node = shape.nodes[index]
  return {
    ...position,
    ...fresh,
    index: index + 1,
    committed: position.committed || node?.type === 'commit',
    failure: null,
    outputs:
      node && node.type !== 'wait' ? { ...position.outputs, [node.name]: entry.output } : position.outputs,
  }
}

const failureOf = (entry: LogEntry): RunFailure | null =>
  entry.failure && entry.step !== null ? { step: entry.step, ...entry.failure } : null

const retryAtOf = (entry: LogEntry): number | null =>
  entry.retryAt === undefined ? null : Date.parse(entry.retryAt)

/** The same is tried again, or a person is called. */
function decided(position: Position, entry: LogEntry): Position {
  return {
    ...position,
    failures: entry.attempt ?? position.failures + 1,
    notBefore: retryAtOf(entry),
    attention: entry.decision === 'attention' ? failureOf(entry) : position.attention,
  }
}

function turnedBack(position: Position, at: number): Position {
  const index = Math.max(position.index, position.furthest)
  return { ...position, ...fresh, direction: 'backward', index, startedAt: at }
}

function failed(position: Position, entry: LogEntry): Position {
  const failure = failureOf(entry)
  if (entry.decision === 'unwind') return { ...turnedBack(position, Date.parse(entry.at)), failure }
  if (entry.decision === 'ask') {
    return { ...position, asking: true, commitFailure: failure, failures: 0, notBefore: null }
  }
  return decided(position, entry)
}

function notHappened(shape: Shape, position: Position, entry: LogEntry): Position {
  const failure = failureOf(entry)
  if (entry.decision === 'unwind') return { ...turnedBack(position, Date.parse(entry.at)), failure }
  return {
    ...position,
    ...fresh,
    index: indexOf(shape, entry),
    // A crash of the control plane is not the operation's fault: only an error uses an attempt up.
    backedOut: position.backedOut + (failure ? 1 : 0),
    notBefore: retryAtOf(entry),
  }
}

/** Whether the commit that was under way has happened, only the world can tell now. */
function interrupted(shape: Shape, position: Position): Position {
  const atCommit = position.direction === 'forward' && shape.nodes[position.index]?.type === 'commit'
  return atCommit && position.started ? { ...position, asking: true } : position
}

/** The time of a pause does not count towards a wait's timeout. */
function continued(position: Position, at: number): Position {
  const pausedMs = position.pausedSince === null ? 0 : Math.max(0, at - position.pausedSince)
  return { ...position, pausedSince: null, continuedAt: at, startedAt: position.startedAt + pausedMs }
}

/**
 * A position that an engine takes over from the log of an earlier one. The clock may have been set in between, by
 * hours and in both directions, and the control plane may have been away: so bounds are counted from here, and no
 * attempt is further off than the longest back-off.
 */
export const takenOver = (position: Position, now: number, longestBackoffMs: number): Position => ({
  ...position,
  startedAt: now,
  pausedSince: position.pausedSince === null ? null : now,
  notBefore: position.notBefore === null ? null : Math.min(position.notBefore, now + longestBackoffMs),
})

export const isElsewhere = (before: Position, after: Position): boolean =>
  before.index !== after.index || before.direction !== after.direction
