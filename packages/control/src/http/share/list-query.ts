import { DomainError } from '@volant/contract'
import { isAdmin } from '../../domain/principal.ts'
import { booleanOf } from '../answer.ts'
import { queryText, type ShareCall } from './call.ts'

/** How the queries of lists are read, of shares and snapshots alike. */

export const invalidQuery = (message: string): DomainError =>
  new DomainError('invalid', `Invalid input received: ${message}`)

/** Absent: undefined. */
export function queryFlag(call: ShareCall, name: string): boolean | undefined {
  const text = queryText(call, name)
  if (text === undefined || text === '') return undefined
  const value = booleanOf(text)
  if (value === undefined) throw invalidQuery(`${name} must be true or false, not '${text.slice(0, 80)}'.`)
  return value
}

/** `{'key': 'value'}` in Python's notation, as the clients send it, or in JSON. */
export function queryPairs(call: ShareCall, name: string): Record<string, string> | undefined {
  const text = queryText(call, name)
  if (text === undefined || text === '') return undefined
  try {
    const json = text.includes('"') ? text : text.replaceAll(`u'`, `'`).replaceAll(`'`, '"')
    const parsed: unknown = JSON.parse(json)
    if (parsed !== null && typeof parsed === 'object' && !Array.isArray(parsed)) {
      return Object.fromEntries(Object.entries(parsed).map(([key, value]) => [key, String(value)]))
    }
  } catch {
    // Said below.
  }
  throw invalidQuery(`${name} must be an object such as {"key": "value"}.`)
}

/** The projects whose things are listed: the token's, or, to an administrator, others too. */
export function projectFilter(call: ShareCall): { projectId?: string } {
  const own = { projectId: call.principal.projectId ?? '' }
  const all = queryFlag(call, 'all_tenants') ?? queryFlag(call, 'all_projects') ?? false
  const asked = queryText(call, 'project_id') ?? queryText(call, 'tenant_id')
  if (!isAdmin(call.principal)) return own
  if (asked !== undefined && asked !== '') return { projectId: asked }
  return all ? {} : own
}

/** `sort_key` and `sort_dir`. Manila's default is the newest first. */
export function sortOf<Key extends string>(
  call: ShareCall,
  known: readonly Key[],
  older: Readonly<Record<string, Key>>,
): { key: Key | 'created_at'; direction: 'asc' | 'desc' }[] {
  const direction = queryText(call, 'sort_dir') ?? 'desc'
  const text = queryText(call, 'sort_key') ?? 'created_at'
  if (direction !== 'asc' && direction !== 'desc') {
    throw invalidQuery(`sort_dir must be asc or desc, not '${direction.slice(0, 80)}'.`)
  }
  const key = Object.hasOwn(older, text) ? older[text] : known.find((one) => one === text)
  if (key === undefined) {
    throw invalidQuery(`sort_key '${text.slice(0, 80)}' is none of ${known.join(', ')}.`)
  }
  return [{ key, direction }]
}

/** A text of the query as a part of a filter; absent and empty: nothing. */
export function textFilter<Name extends string>(
  call: ShareCall,
  query: string,
  name: Name,
): Partial<Record<Name, string>> {
  const text = queryText(call, query)
  return text === undefined || text === '' ? {} : ({ [name]: text } as Partial<Record<Name, string>>)
}
