import type { ErrorCode } from '@volant/contract'
import { isDomainError } from '@volant/contract'
import type { FastifyError } from 'fastify'

/** The only table from error codes to HTTP statuses. */
const statuses: Record<ErrorCode, number> = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  notFound: 404,
  notAcceptable: 406,
  conflict: 409,
  overQuota: 413,
  tooLarge: 413,
  noCapacity: 400,
  unavailable: 503,
  staleFence: 503,
  notImplemented: 501,
  internal: 500,
}

export interface HttpFault {
  status: number
  /** Safe to show. */
  message: string
  code: ErrorCode
}

/** Turns any thrown value into a status and a message that gives nothing internal away. */
export function faultOf(error: unknown): HttpFault {
  if (isDomainError(error)) {
    return { status: error.httpStatus ?? statuses[error.code], message: error.message, code: error.code }
  }
  const fastify = error as Partial<FastifyError>
  if (fastify.validation !== undefined) {
    return { status: 400, message: fastify.message ?? 'Invalid input.', code: 'invalid' }
  }
  const status = fastify.statusCode
  if (status !== undefined && status >= 400 && status < 500) {
    return {
      status,
      message: fastify.message ?? 'Bad request.',
      code: status === 413 ? 'tooLarge' : 'invalid',
    }
  }
  return {
    status: 500,
    message: 'An unexpected fault occurred. The log has the details.',
    code: 'internal',
  }
}
