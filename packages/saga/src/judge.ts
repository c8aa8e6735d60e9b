/** What follows from a failure: pure, and decided once, for the decision goes into the log with the failure. */
import type { CommitNode, OperationNode } from './operation.ts'
import type { Fact } from './plan.ts'
import { backoffMs, type Policy, type RetryPolicy } from './policy.ts'
import type { Position, Shape } from './position.ts'
import type { Failure } from './types.ts'

export interface Case {
  shape: Shape
  position: Position
  node: OperationNode
  failure: Failure
  policy: Policy
  input: unknown
  /** Epoch milliseconds. */
  now: number
  /** Failures in a row before this one. */
  failures: number
}

/** A `do` or an `until` failed. */
export function judgeFailed(given: Case): Fact {
  const { node, failure, position, policy } = given
  const fact = { event: 'failed', step: node.name, failure, attempt: given.failures + 1 } as const
  // An error of the commit proves nothing either way: the world is asked.
  if (node.type === 'commit') return { ...fact, decision: 'ask' }
  if (position.committed) return again(given, fact, node.retry ?? policy.afterCommit, 'attention')
  if (failure.class === 'final') return { ...fact, decision: 'unwind' }
  return again(given, fact, node.retry ?? policy.step, 'unwind')
}

/** A call was told to stop and did not: nothing is safe beside it. */
export const judgeHung = (
  { node, failure, failures }: Case,
  event: 'failed' | 'undo-failed' | 'ask-failed',
): Fact => ({
  event,
  step: node.name,
  failure,
  attempt: failures + 1,
  decision: 'attention',
})

/** An undo, or a look on the way back through a wait, failed: whatever the error says, it is tried again. */
export function judgeUndoFailed(given: Case): Fact {
  const { node, failure, policy } = given
  const fact = { event: 'undo-failed', step: node.name, failure, attempt: given.failures + 1 } as const
  const wayBack = node.type === 'wait' ? node.back : null
  return again(given, fact, wayBack?.retry ?? policy.undo, 'attention')
}

export function judgeAskFailed(given: Case): Fact {
  const { node, failure, policy } = given
  const fact = { event: 'ask-failed', step: node.name, failure, attempt: given.failures + 1 } as const
  return again(given, fact, policy.ask, 'attention')
}

/**
 * The commit did not happen. Its error says whether another attempt is worth while; a crash is no error, and what was
 * postponed no attempt.
 */
export function judgeNotHappened(
  node: CommitNode,
  given: Pick<Case, 'position' | 'policy' | 'input' | 'now'>,
): Fact {
  const { position, policy, input, now } = given
  const fact = { event: 'not-happened', step: node.name } as const
  const to = node.retryFrom ?? node.name
  if (!position.commitFailure) return { ...fact, decision: 'retry', to }

  const { step: _, ...failure } = position.commitFailure
  const pauseFor = (nth: number): string =>
    new Date(
      now + backoffMs(node.backoff(input) ?? policy.commit.backoff, nth, policy.longestBackoff),
    ).toISOString()
  if (failure.class === 'postponed') return { ...fact, decision: 'retry', to, retryAt: pauseFor(1) }
  const attempt = position.backedOut + 1
  const attempts = node.attempts(input) ?? policy.commit.attempts
  if (failure.class === 'final' || attempt >= attempts)
    return { ...fact, failure, attempt, decision: 'unwind' }
  return { ...fact, failure, attempt, decision: 'retry', to, retryAt: pauseFor(attempt) }
}

/** Tried again with back-off while attempts are left, else `otherwise`. */
function again(given: Case, fact: Fact, retry: RetryPolicy, otherwise: 'unwind' | 'attention'): Fact {
  const attempt = given.failures + 1
  if (attempt >= retry.attempts) return { ...fact, decision: otherwise }
  const pause = backoffMs(retry.backoff, attempt, given.policy.longestBackoff)
  return { ...fact, decision: 'retry', retryAt: new Date(given.now + pause).toISOString() }
}
