/** A request that did not succeed. */
export class ApiError extends Error {
  /** HTTP status; 0 where no answer came. */
  readonly status: number

  constructor(status: number, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'ApiError'
    this.status = status
  }
}

/**
 * The message in any of the services' error envelopes: `{error: {message}}` (identity, ndo),
 * `{itemNotFound: {message}}` (volume, compute), or a bare `{message}`.
 */
export function messageIn(body: unknown): string | undefined {
  if (typeof body !== 'object' || body === null) return undefined
  const direct = (body as { message?: unknown }).message
  if (typeof direct === 'string') return direct
  for (const value of Object.values(body)) {
    const message = (value as { message?: unknown } | null)?.message
    if (typeof message === 'string') return message
  }
  return undefined
}
