import { ApiError } from '@volant/client'
import { isDomainError } from '@volant/contract/errors.ts'

/** For scripts; `volant --help` lists them. */
export const exitCodes = {
  ok: 0,
  /** It was tried and did not succeed. */
  failed: 1,
  /** Wrong command line. */
  usage: 2,
  /** Volant does not run, or there is no such thing. */
  notFound: 3,
  /** Refused before anything was done: a precondition does not hold, or the user may not. */
  refused: 4,
  /** Ctrl-C ended the watching; the operation goes on. */
  interrupted: 130,
} as const

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

/** An error for the user, with the exit code that it means. */
export class CliError extends Error {
  readonly exitCode: ExitCode

  constructor(exitCode: ExitCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'CliError'
    this.exitCode = exitCode
  }
}

/** 0 (no answer) and 404 are "not there"; other 4xx refusals; 5xx failures. */
function ofStatus(status: number): ExitCode {
  if (status === 0 || status === 404) return exitCodes.notFound
  return status < 500 ? exitCodes.refused : exitCodes.failed
}

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CliError) return error.exitCode
  if (error instanceof ApiError) return ofStatus(error.status)
  if (isDomainError(error)) {
    if (error.code === 'notFound') return exitCodes.notFound
    return error.code === 'internal' || error.code === 'unavailable' ? exitCodes.failed : exitCodes.refused
  }
  return exitCodes.failed
}
