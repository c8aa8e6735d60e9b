import { isDomainError, messageOf } from '@volant/contract/errors.ts'
import type { Failure, FailureClass } from './types.ts'

/** An error that says itself how it is to be treated. Any error with such a `class` property is treated alike. */
export class ClassifiedError extends Error {
  readonly class: FailureClass

  constructor(failureClass: FailureClass, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'ClassifiedError'
    this.class = failureClass
  }
}

/** It may work the next time. Thrown by a commit's `do`: it backed out, the source is the truth, try again later. */
export const retryable = (message: string, cause?: unknown): ClassifiedError =>
  new ClassifiedError('retry', message, cause)

/** Thrown by a commit's `do` that has begun nothing, for it may not now: it is tried again, and no attempt is used up. */
export const postponed = (message: string): ClassifiedError => new ClassifiedError('postponed', message)

/** Trying again does not help. */
export const final = (message: string, cause?: unknown): ClassifiedError =>
  new ClassifiedError('final', message, cause)

/** Nobody knows whether it happened. */
export const unknown = (message: string, cause?: unknown): ClassifiedError =>
  new ClassifiedError('unknown', message, cause)

const classes: readonly unknown[] = ['retry', 'postponed', 'final', 'unknown'] satisfies FailureClass[]

/**
 * An error's own `class` decides; then a `DomainError`'s code: `unavailable` is worth another attempt. All else
 * is final, for an error that nobody foresaw is not made better by being repeated.
 */
export function classify(error: unknown): Failure {
  const code = isDomainError(error) ? error.code : codeOfCause(error)
  return { class: classOf(error), code, message: messageOf(error) }
}

function classOf(error: unknown): FailureClass {
  if (typeof error === 'object' && error !== null && 'class' in error && classes.includes(error.class)) {
    return error.class as FailureClass
  }
  return isDomainError(error) && error.code === 'unavailable' ? 'retry' : 'final'
}

function codeOfCause(error: unknown): Failure['code'] {
  const cause = error instanceof Error ? error.cause : undefined
  return isDomainError(cause) ? cause.code : null
}

/** An agent or the store says that another control plane has taken over: this engine must stop at once. */
export function isStaleFence(error: unknown): boolean {
  for (let e: unknown = error; e instanceof Error; e = e.cause) {
    if (isDomainError(e) && e.code === 'staleFence') return true
  }
  return false
}
