import { sql, type Expression, type SqlBool } from 'kysely'
import type { TimeComparison } from '../../domain/volume-query.ts'

/** What the lists of volumes and of snapshots have in common: pages that start at a marker's key, and conditions. */

export interface Sort<Key extends string> {
  key: Key
  direction: 'asc' | 'desc'
}

/** The id makes every order total, so that a page never repeats or skips a row. */
export function withTieBreak<Key extends string>(sort: readonly Sort<Key>[]): Sort<Key | 'id'>[] {
  const direction = sort.at(-1)?.direction ?? 'desc'
  return sort.some((s) => s.key === 'id') ? [...sort] : [...sort, { key: 'id', direction }]
}

export type SortColumn<Key extends string> = (key: Key) => Expression<string | number>

/**
 * After the marker in the order. Where all directions are the same it is one comparison of rows, which an index
 * in that order answers directly.
 */
export function afterKey<Key extends string>(
  sort: readonly Sort<Key>[],
  column: SortColumn<Key>,
  key: readonly (string | number)[],
): Expression<SqlBool> {
  const operator = (direction: Sort<Key>['direction']) => sql.raw(direction === 'asc' ? '>' : '<')
  const first = sort[0] as Sort<Key>
  if (sort.every((s) => s.direction === first.direction)) {
    const left = sql.join(sort.map((s) => column(s.key)))
    return sql<SqlBool>`(${left}) ${operator(first.direction)} (${sql.join([...key])})`
  }
  const alternatives = sort.map((s, index) => {
    const equal = sort.slice(0, index).map((t, i) => sql`${column(t.key)} = ${key[i]}`)
    return sql`(${sql.join([...equal, sql`${column(s.key)} ${operator(s.direction)} ${key[index]}`], sql` and `)})`
  })
  return sql<SqlBool>`(${sql.join(alternatives, sql` or `)})`
}

const likeEscaped = (text: string): string => text.replace(/[\\%_]/g, (c) => `\\${c}`)

export const contains = (column: string, part: string): Expression<SqlBool> =>
  sql<SqlBool>`${sql.ref(column)} like ${`%${likeEscaped(part)}%`} escape '\\'`

/**
 * The column is JSON text as `JSON.stringify` writes it, so a pair can be found as text in it: what is in quotes
 * there is escaped. (`like` would ignore case.)
 */
export const hasPair = (column: string, key: string, value: string): Expression<SqlBool> =>
  sql<SqlBool>`(${holds(column, `{${pair(key, value)}`)} or ${holds(column, `,${pair(key, value)}`)})`

const holds = (column: string, part: string): Expression<SqlBool> =>
  sql<SqlBool>`replace(${sql.ref(column)}, ${part}, '') <> ${sql.ref(column)}`

const pair = (key: string, value: string): string => `${JSON.stringify(key)}:${JSON.stringify(value)}`

/** Equality with one value, so that the planner may choose an index by it; `in` for several; false for none. */
export function oneOf(column: string, values: readonly string[]): Expression<SqlBool> {
  const [only] = values
  if (only === undefined) return sql<SqlBool>`1 = 0`
  return values.length === 1
    ? sql<SqlBool>`${sql.ref(column)} = ${only}`
    : sql<SqlBool>`${sql.ref(column)} in (${sql.join([...values])})`
}

export const timeIs = (column: string, { operator, time }: TimeComparison): Expression<SqlBool> =>
  sql<SqlBool>`${sql.ref(column)} ${sql.raw(operator)} ${time}`
