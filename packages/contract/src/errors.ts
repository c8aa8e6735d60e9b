/**
 * Every error that Volant raises on purpose, in one list. Transport-agnostic: only `control/http` turns a code
 * into an HTTP status. `message` is for the user and says what is wrong and what would be right; `detail` is
 * for the log alone.
 */
export const errorCodes = {
  /** The request's form or values are wrong. */
  invalid: 'invalid',
  /** No valid token. */
  unauthenticated: 'unauthenticated',
  /** The token's roles do not suffice. */
  forbidden: 'forbidden',
  /** There is no such thing, or this project may not know of it. */
  notFound: 'notFound',
  /** The thing is in no state for this. */
  conflict: 'conflict',
  /** A quota or limit is used up. */
  overQuota: 'overQuota',
  /** The request body or a value in it is too large. */
  tooLarge: 'tooLarge',
  /** A microversion that this service does not have. */
  notAcceptable: 'notAcceptable',
  /** No room, or no place that satisfies the request. */
  noCapacity: 'noCapacity',
  /** A part of the data plane or the database does not answer now. */
  unavailable: 'unavailable',
  /** A caller with an old fence number: another control plane has taken over. */
  staleFence: 'staleFence',
  /** The method or feature exists in OpenStack, not in Volant. */
  notImplemented: 'notImplemented',
  /** A fault of Volant's own. */
  internal: 'internal',
} as const

export type ErrorCode = keyof typeof errorCodes

export interface ErrorOptions {
  /** For the log; never sent to a client. */
  detail?: unknown
  cause?: unknown
  /** Overrides the HTTP status that the service's table gives the code (a few OpenStack calls are irregular). */
  httpStatus?: number
}

export class DomainError extends Error {
  readonly code: ErrorCode
  readonly detail: unknown
  readonly httpStatus: number | undefined

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'DomainError'
    this.code = code
    this.detail = options.detail
    this.httpStatus = options.httpStatus
  }
}

export const isDomainError = (error: unknown): error is DomainError => error instanceof DomainError

/** The text of any thrown value, for messages and logs. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
