/** What a request asks in its path and query, read alike by the services that page as Cinder and Manila do. */
import { DomainError } from '@volant/contract'

export interface Asked {
  params: Record<string, string>
  /** As it came: each value a text, or texts where the name came more than once. */
  query: Record<string, string | string[]>
}

/** `osapi_max_limit`. */
export const maxPage = 1000

/** A path parameter that the route declares. */
export const param = (call: Asked, name: string): string => call.params[name] ?? ''

/** The one value of a query parameter; the last where it came more than once. */
export function queryText(call: Asked, name: string): string | undefined {
  const value = call.query[name]
  return Array.isArray(value) ? value.at(-1) : value
}

/** `limit` and `offset`, within their bounds, and the last item of the page before. */
export function pageOf(call: Asked): { limit: number; offset: number; marker?: string } {
  const marker = queryText(call, 'marker')
  return {
    limit: Math.min(wholeNumber(call, 'limit') ?? maxPage, maxPage),
    offset: wholeNumber(call, 'offset') ?? 0,
    ...(marker !== undefined && { marker }),
  }
}

/** Undefined where it is not there; throws `invalid` for anything but a whole number. */
export function wholeNumber(call: Asked, name: 'limit' | 'offset'): number | undefined {
  const text = queryText(call, name)
  if (text === undefined || text === '') return undefined
  const value = /^\d{1,10}$/.test(text) ? Number(text) : -1
  if (value < 0 || value > 2_147_483_647) {
    throw new DomainError(
      'invalid',
      `Invalid input received: ${name} must be a whole number from 0 to 2147483647.`,
    )
  }
  return value
}
