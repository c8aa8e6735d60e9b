import { DomainError } from '@volant/contract'
import { isAdmin } from '../../domain/principal.ts'
import type { TimeComparison } from '../../domain/volume-query.ts'
import { atLeast } from '../microversion.ts'
import { booleanOf, queryText, type VolumeCall } from './call.ts'

/** How the queries of lists are read, of volumes and snapshots alike. */

export const invalid = (message: string): DomainError =>
  new DomainError('invalid', `Invalid input received: ${message}`)

/** Query names that are not filters. */
const others = new Set([
  'limit',
  'offset',
  'marker',
  'sort',
  'sort_key',
  'sort_dir',
  'all_tenants',
  'with_count',
])

/** `a` or `['a', 'b']`, as the clients write lists. */
export const several = (value: string): string[] => {
  const list = /^\[(.*)\]$/s.exec(value)
  if (list === null) return [value]
  return (list[1] as string).split(',').map((text) => text.trim().replace(/^(['"])(.*)\1$/s, '$2'))
}

export const boolean = (name: string, value: string): boolean => {
  const found = booleanOf(value)
  if (found === undefined) throw invalid(`${name} must be true or false, not '${value.slice(0, 80)}'.`)
  return found
}

/** Of a filter by metadata. */
export const pairs = (name: string, value: string): Record<string, string> => {
  try {
    // The clients send Python's notation of a dictionary: {'key': 'value'}.
    const json = value.includes('"') ? value : value.replaceAll(`u'`, `'`).replaceAll(`'`, '"')
    const parsed: unknown = JSON.parse(json)
    if (parsed !== null && typeof parsed === 'object' && !Array.isArray(parsed)) {
      return Object.fromEntries(Object.entries(parsed).map(([k, v]) => [k, String(v)]))
    }
  } catch {
    // Said below.
  }
  throw invalid(`${name} must be an object such as {"key": "value"}.`)
}

const operators: Record<string, TimeComparison['operator']> = {
  eq: '=',
  neq: '!=',
  gt: '>',
  gte: '>=',
  lt: '<',
  lte: '<=',
}

export function comparisons(name: string, value: string): TimeComparison[] {
  return value.split(',').map((part) => {
    const match = /^(?:(eq|neq|gt|gte|lt|lte):)?(.+)$/s.exec(part.trim())
    const text = match?.[2] ?? ''
    const time = new Date(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text}Z`)
    if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(time.getTime())) {
      throw invalid(`${name} must be an ISO 8601 time, with gt:, gte:, lt:, lte:, eq: or neq: before it.`)
    }
    return { operator: operators[match?.[1] ?? 'eq'] ?? '=', time: time.toISOString() }
  })
}

/**
 * What the query asks for as a filter, each name applied by its function. Unknown names and, to others, the
 * administrators' are refused since microversion 3.31 and left out before.
 */
export function filterOf<F extends object, W>(
  call: VolumeCall,
  filters: Record<string, (filter: F, value: string, where: W) => void>,
  administrators: ReadonlySet<string>,
  where: W,
): F {
  const filter = {} as F
  const unknown: string[] = []
  const admin = isAdmin(call.principal)
  for (const name of Object.keys(call.query)) {
    const value = queryText(call, name)
    if (others.has(name) || name === 'project_id' || name === 'tenant_id' || value === undefined) continue
    const apply = Object.hasOwn(filters, name) ? filters[name] : undefined
    if (apply === undefined || (administrators.has(name) && !admin)) unknown.push(name)
    else apply(filter, value, where)
  }
  if (unknown.length > 0 && atLeast(call.version, '3.31')) {
    throw invalid(
      `Invalid filters ${unknown
        .slice(0, 5)
        .map((n) => n.slice(0, 80))
        .join(', ')} are found in query options.`,
    )
  }
  return filter
}

/** The projects whose things are listed: the token's, or, to an administrator, others too. */
export function projectFilter(call: VolumeCall): { projectId?: string } {
  const own = { projectId: call.principal.projectId ?? '' }
  const all = queryText(call, 'all_tenants')
  if (!isAdmin(call.principal) || all === undefined || booleanOf(all) === false) return own
  if (booleanOf(all) === undefined) throw invalid(`all_tenants must be 0 or 1, not '${all.slice(0, 80)}'.`)
  const asked = queryText(call, 'project_id') ?? queryText(call, 'tenant_id')
  return asked === undefined ? {} : { projectId: asked }
}

function direction(text: string): 'asc' | 'desc' {
  if (text === 'asc' || text === 'desc') return text
  throw invalid(`sort direction must be asc or desc, not '${text.slice(0, 80)}'.`)
}

/** `sort=key:dir,key`, or the older `sort_key` with `sort_dir`. Cinder's default is the newest first. */
export function sortOf<Key extends string>(
  call: VolumeCall,
  sortKey: (text: string) => Key,
): Sort<Key | 'created_at' | 'id'>[] {
  const sort = queryText(call, 'sort')
  const key = queryText(call, 'sort_key')
  const dir = queryText(call, 'sort_dir')
  if (sort !== undefined) {
    if (key !== undefined || dir !== undefined) {
      throw invalid('the sort parameter cannot be used together with sort_key and sort_dir.')
    }
    return unique(
      sort.split(',').map((part) => {
        const [name = '', order = 'desc'] = part.trim().split(':')
        return { key: sortKey(name), direction: direction(order) }
      }),
    )
  }
  const order = direction(dir ?? 'desc')
  if (key === undefined) {
    return [
      { key: 'created_at', direction: order },
      { key: 'id', direction: order },
    ]
  }
  return unique(key.split(',').map((name) => ({ key: sortKey(name.trim()), direction: order })))
}

interface Sort<Key> {
  key: Key
  direction: 'asc' | 'desc'
}

function unique<Key>(sort: Sort<Key>[]): Sort<Key>[] {
  const seen = new Set<Key>()
  return sort.filter((s) => !seen.has(s.key) && seen.add(s.key))
}

/** One of the known keys, or of their older names. */
export function sortKeyOf<Key extends string>(
  text: string,
  known: readonly Key[],
  older: Readonly<Record<string, Key>>,
): Key {
  const key = Object.hasOwn(older, text) ? older[text] : known.find((one) => one === text)
  if (key === undefined) throw invalid(`sort key '${text.slice(0, 80)}' is none of ${known.join(', ')}.`)
  return key
}
