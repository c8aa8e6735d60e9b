/** What the OpenStack services' handlers answer with, and how they read a text. */
export interface Answer {
  status: number
  body?: unknown
  headers?: Record<string, string>
}

export const ok = (body: unknown): Answer => ({ status: 200, body })
export const accepted = (body?: unknown): Answer => ({ status: 202, body })
export const noContent = (): Answer => ({ status: 204 })

const truths = new Set(['1', 'true', 't', 'yes', 'y', 'on'])
const lies = new Set(['0', 'false', 'f', 'no', 'n', 'off'])

/** A text or boolean as oslo's `bool_from_string` reads it; undefined for anything else. */
export function booleanOf(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value
  if (value === 0 || value === 1) return value === 1
  if (typeof value !== 'string') return undefined
  const text = value.trim().toLowerCase()
  return truths.has(text) ? true : lies.has(text) ? false : undefined
}
