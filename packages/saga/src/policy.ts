import { milliseconds, type Duration } from './duration.ts'

/** How long to wait before the next attempt: always the same, or growing. */
export type Backoff =
  | Duration
  | {
      first: Duration
      /** Each pause is this many times the one before; 2 if not given. */
      factor?: number
      longest?: Duration
    }

export interface RetryPolicy {
  /** Attempts in all, the first one included. */
  attempts: number
  backoff: Backoff
}

export interface Policy {
  /** Steps and waits before the commit, and all of an operation that has none. */
  step: RetryPolicy
  /** The commit. */
  commit: RetryPolicy
  /** Asking `happened()`, where it does not answer. */
  ask: RetryPolicy
  /** Steps and waits after the commit: they must come through in the end, so they are given more. */
  afterCommit: RetryPolicy
  undo: RetryPolicy
  /** Upper bounds for every back-off and for the interval between two checks of a wait; for tests. */
  longestBackoff: Duration
  longestCheckInterval: Duration
  /** The time limit of a `do` that declares none; and of every `undo`, `until` and `happened`. */
  doTimeout: Duration
  callTimeout: Duration
  /** What a call that has run out of time is given to stop, before its run needs attention. */
  abortGrace: Duration
}

export const defaultPolicy: Policy = {
  step: { attempts: 5, backoff: { first: '200ms', longest: '10s' } },
  commit: { attempts: 3, backoff: { first: '5s', longest: '1m' } },
  ask: { attempts: 20, backoff: { first: '200ms', longest: '10s' } },
  afterCommit: { attempts: 12, backoff: { first: '500ms', longest: '30s' } },
  undo: { attempts: 8, backoff: { first: '500ms', longest: '15s' } },
  longestBackoff: '5m',
  longestCheckInterval: '10m',
  doTimeout: '2h',
  callTimeout: '5m',
  abortGrace: '30s',
}

/** The pause after the `failures`-th failure (1, 2, ...), in milliseconds. */
export function backoffMs(backoff: Backoff, failures: number, longest: Duration): number {
  const bound = milliseconds(longest)
  if (typeof backoff !== 'object') return Math.min(milliseconds(backoff), bound)
  const grown = milliseconds(backoff.first) * (backoff.factor ?? 2) ** Math.max(0, failures - 1)
  return Math.min(grown, milliseconds(backoff.longest ?? longest), bound)
}
