import type { ErrorCode } from '@volant/contract/errors.ts'

/**
 * What a person or a program sees of a run.
 *
 * - `pending`          recorded, and not taken up yet
 * - `running`          a step is under way, or is about to be tried again
 * - `waiting`          a wait has not come true yet; no worker is occupied
 * - `paused`           at the operator's wish, between two steps or in a wait
 * - `cancelling`       at the operator's wish: steps are being undone, or the step under way is being stopped
 * - `unwinding`        after a failure: steps are being undone
 * - `succeeded`        ended: everything was done
 * - `failed`           ended: everything was undone after a failure
 * - `cancelled`        ended: everything was undone at the operator's wish
 * - `needs-attention`  the engine may not go on by itself; it still holds its keys. `resume` tries again
 */
export type RunState =
  | 'pending'
  | 'running'
  | 'waiting'
  | 'paused'
  | 'cancelling'
  | 'unwinding'
  | 'succeeded'
  | 'failed'
  | 'cancelled'
  | 'needs-attention'

export const endedStates = ['succeeded', 'failed', 'cancelled'] as const satisfies readonly RunState[]
export type EndedState = (typeof endedStates)[number]

export const hasEnded = (state: RunState): state is EndedState =>
  (endedStates as readonly RunState[]).includes(state)

/**
 * - `retry`    try again, with back-off, a bounded number of times
 * - `final`    trying again does not help
 * - `postponed`  at the commit: it was not tried, for it may not be now; no attempt is used up. Elsewhere as `retry`
 * - `unknown`  it cannot be told whether it happened. At the commit the data plane is asked; elsewhere, because
 *              every `do` is an "ensure", it is tried again
 */
export type FailureClass = 'retry' | 'postponed' | 'final' | 'unknown'

export interface Failure {
  class: FailureClass
  /** The code of a `DomainError`, else null. */
  code: ErrorCode | null
  message: string
}

/** A failure and the step (or wait, or commit) it happened in. */
export interface RunFailure extends Failure {
  step: string
}

/** The operator's wishes. They are columns of the run's row, so they survive a restart. */
export interface Control {
  paused: boolean
  /** Never taken back. */
  cancelRequested: boolean
  /** An upper bound for the operation's own copying, in bytes per second; null: none. */
  rate: number | null
  /** What else is wanted of the pace of its copying: words of the operations' own, nothing to the engine; null: none. */
  pace: string | null
  /** How it stands beside others that copy: a word of the operations' own; null: none. */
  priority: string | null
}

/** What of it steers the copying. */
export type CopyControl = Pick<Control, 'rate' | 'pace' | 'priority'>

/** `Control` as stored. The revision rises with each change, so that an old answer cannot hide a newer one. */
export interface StoredControl extends Control {
  revision: number
}

/** One durable operation, as its row tells it. Times are ISO 8601 in UTC. */
export interface RunRecord {
  id: string
  kind: string
  version: number
  /** Names of all steps, waits and the commit, in order, as the code that started the run declared them. */
  steps: string[]
  /** What it locks; kept for the history after the locks are released. */
  keys: string[]
  input: unknown
  /** The run that it is a part of; null: it stands for itself. */
  parentId: string | null
  state: RunState
  /** The step, wait or commit under way, or the step being undone; null when ended. */
  step: string | null
  /** Whether a cancel would be accepted now: false from the start of the commit, and while unwinding. */
  cancellable: boolean
  control: StoredControl
  /** The last value a wait returned or a step reported; its form is the operation's own. */
  progress: unknown
  /** Why it unwinds, failed or needs attention. */
  failure: RunFailure | null
  /** The control plane that carries it out, and that one's fence number. */
  owner: string
  fence: number
  createdAt: string
  updatedAt: string
  endedAt: string | null
}

/**
 * What can stand in a run's log. The log is the truth about how far a run is: a restarted engine knows nothing
 * else. It is also the history that an operator reads.
 */
export type LogEvent =
  /** The intent to do `step`, written before it. */
  | 'started'
  /** `step` was done; `output` is what it returned. */
  | 'done'
  /** `do` or `until` of `step` failed; `decision` is what was decided. */
  | 'failed'
  /** `happened()` of the commit said no; `decision` is what was decided, `to` where it goes on. */
  | 'not-happened'
  /** `happened()` of the commit did not answer. */
  | 'ask-failed'
  /** The operator's cancel took effect at `step`: unwinding begins. */
  | 'cancelled'
  | 'undone'
  | 'undo-failed'
  /** An engine took the run over after a restart; `step` was under way. */
  | 'adopted'
  /** The operator paused it; it stands before or in `step`. */
  | 'paused'
  | 'continued'
  /** The operator had the run, which needed attention, try `step` again. */
  | 'resumed'
  /** The operator declared `step` done (or undone) by hand. */
  | 'skipped'
  | 'ended'

export type Decision = 'retry' | 'ask' | 'unwind' | 'attention'

export interface LogEntry {
  /** 1, 2, 3 ... in each run. */
  seq: number
  at: string
  event: LogEvent
  step: string | null
  output?: unknown
  failure?: Failure
  decision?: Decision
  /** Which attempt in a row failed: 1, 2, 3 ... */
  attempt?: number
  /** After a commit that did not happen: the wait (or the commit) that is tried next. */
  to?: string
  /** The earliest time of the next attempt. */
  retryAt?: string
  /** On `adopted`. */
  owner?: string
  fence?: number
  /** On `ended`. */
  state?: EndedState
}
