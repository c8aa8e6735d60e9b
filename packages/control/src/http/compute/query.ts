import { DomainError } from '@volant/contract'
import type { FastifyRequest } from 'fastify'
import { atLeast } from '../microversion.ts'

export const maxLimit = 1000

/** The parameters of a request's query, each with all of its values. */
export class Query {
  readonly #values: ReadonlyMap<string, string[]>

  constructor(request: FastifyRequest) {
    const pairs = Object.entries((request.query ?? {}) as Record<string, unknown>)
    this.#values = new Map(
      pairs.map(([key, value]) => [key, (Array.isArray(value) ? value : [value]).map(String)]),
    )
    for (const [key, values] of this.#values) {
      for (const text of [key, ...values]) {
        // oxlint-disable-next-line no-control-regex
        if (text.length > 2048 || /[\u0000-\u001f\u007f]/.test(text)) {
          throw new DomainError(
            'invalid',
            `Invalid input for query parameters ${key.slice(0, 60).replaceAll(/[^\w-]/g, '?')}: it is too long or ` +
              'holds control characters.',
          )
        }
      }
    }
  }

  keys(): string[] {
    return [...this.#values.keys()]
  }

  /** The last value, as web frameworks take it. */
  text(key: string): string | undefined {
    return this.#values.get(key)?.at(-1)
  }

  all(key: string): string[] {
    return this.#values.get(key) ?? []
  }

  integer(key: string, minimum = 0): number | undefined {
    const text = this.text(key)
    if (text === undefined) return undefined
    const value = Number(text)
    if (/^\d{1,10}$/.test(text) && value >= minimum) return value
    throw this.invalid(key, text, `must be a whole number from ${minimum} on`)
  }

  /** Nova's strict booleans. */
  boolean(key: string): boolean | undefined {
    const text = this.text(key)
    if (text === undefined) return undefined
    if (/^(?:1|t|true|on|y|yes)$/i.test(text)) return true
    if (/^(?:0|f|false|off|n|no)$/i.test(text)) return false
    throw this.invalid(key, text, "must be one of '0', '1', 'true', 'false'")
  }

  /** ISO 8601, brought to UTC with milliseconds. */
  time(key: string): string | undefined {
    const text = this.text(key)
    if (text === undefined) return undefined
    const form = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?(Z|[+-]\d\d:?\d\d)?$/
    const zoned = /(Z|[+-]\d\d:?\d\d)$/.test(text.slice(10)) || text.length === 10 ? text : `${text}Z`
    const time = form.test(text) ? Date.parse(zoned.replace(' ', 'T')) : Number.NaN
    if (Number.isNaN(time))
      throw this.invalid(key, text, "must be a 'date-time' such as 2026-11-22T10:00:00Z")
    return new Date(time).toISOString()
  }

  /** Of a page: 1,000 at most; 0 is none. */
  limit(): number {
    return Math.min(this.integer('limit') ?? maxLimit, maxLimit)
  }

  /** From 2.75 on, unknown parameters are refused. */
  requireKnown(request: FastifyRequest, known: readonly string[]): void {
    if (!atLeast(request.computeVersion, '2.75')) return
    const stranger = this.keys().find((key) => !known.includes(key))
    if (stranger === undefined) return
    throw new DomainError(
      'invalid',
      `Additional properties are not allowed ('${stranger.slice(0, 100)}' was unexpected)`,
    )
  }

  invalid(key: string, value: string, rule: string): DomainError {
    return new DomainError(
      'invalid',
      `Invalid input for query parameters ${key}. Value: ${value.slice(0, 100)}. It ${rule}.`,
    )
  }
}
