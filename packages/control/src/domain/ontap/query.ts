/**
 * ONTAP's query language: what a GET's query string selects, and in which form. Pure: a query string in, records
 * out. As in the ONTAP REST API's "Records" and "Query parameters" reference:
 *
 *     name=vol1        space.size=>10GB     name=vol*       state=online|offline     name=!vol1      size=10..20
 *     fields=space,nas.path or * or **      order_by=name desc,space.size            max_records=20  return_records=false
 */
import { OntapError } from './error.ts'

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json }
export type OntapRecord = { [key: string]: Json }

export interface OntapQuery {
  /** All of them hold for a record that is selected. */
  filters: Filter[]
  /** What was asked for beside the identity (`uuid`, `name`); `*`: all but the costly; `**`: all. */
  fields: string[]
  /** `!field`: what is left out of it. */
  excluded: string[]
  orderBy: { field: string; descending: boolean }[]
  maxRecords: number
  /** Only `num_records`, not the records. */
  returnRecords: boolean
  /** Seconds that an answer may wait for records or for a job. */
  returnTimeoutSeconds: number
  /** How many selected records come before this page. */
  skip: number
}

export interface Filter {
  field: string
  holds: (value: Json | undefined) => boolean
}

const defaultMaxRecords = 10_000
const reserved = new Set([
  'fields',
  'order_by',
  'max_records',
  'return_records',
  'return_timeout',
  'return_unmatched_nested_array_objects',
  'ignore_unknown_fields',
  'validate_only',
  'start.index',
])

/** Throws `OntapError` for a parameter that is malformed, or names no field of the resource (unless those are ignored). */
export function parseOntapQuery(
  parameters: Iterable<[string, string]>,
  knownFields: ReadonlySet<string>,
  { ignoreUnknown = false, returnTimeoutSeconds = 15 } = {},
): OntapQuery {
  const query: OntapQuery = {
    filters: [],
    fields: [],
    excluded: [],
    orderBy: [],
    maxRecords: defaultMaxRecords,
    returnRecords: true,
    returnTimeoutSeconds,
    skip: 0,
  }
  for (const [name, value] of parameters) {
    if (!reserved.has(name)) {
      if (!isKnown(name, knownFields)) {
        if (ignoreUnknown) continue
        throw OntapError.unexpectedArgument(name)
      }
      query.filters.push({ field: name, holds: predicate(value) })
    } else if (name === 'fields') {
      const wanted = listOf(value).filter(
        (field) => !ignoreUnknown || isKnown(plainField(field), knownFields),
      )
      for (const field of wanted) {
        const list = field.startsWith('!') ? query.excluded : query.fields
        list.push(requireField(field, 'fields', knownFields))
      }
    } else if (name === 'order_by') {
      query.orderBy.push(...listOf(value).map((term) => orderOf(term, knownFields)))
    } else if (name === 'max_records') {
      query.maxRecords = wholeNumber(name, value, 1, defaultMaxRecords)
    } else if (name === 'return_timeout') {
      query.returnTimeoutSeconds = wholeNumber(name, value, 0, 120)
    } else if (name === 'start.index') {
      query.skip = wholeNumber(name, value, 0, Number.MAX_SAFE_INTEGER)
    } else if (name === 'return_records') {
      query.returnRecords = flag(name, value)
    }
  }
  return query
}

/** Whether the query looks at the field, or at a part of it, or at all fields: figures that cost something are left out else. */
export function looksAt(query: OntapQuery, field: string): boolean {
  const names = [
    ...query.fields,
    ...query.filters.map((filter) => filter.field),
    ...query.orderBy.map((order) => order.field),
  ]
  return names.some(
    (name) =>
      name === '*' ||
      name === '**' ||
      name === field ||
      name.startsWith(`${field}.`) ||
      field.startsWith(`${name}.`),
  )
}

/** The records that the query selects, ordered and cut to the page; `more` where another page follows. */
export function select(
  records: readonly OntapRecord[],
  query: OntapQuery,
): { page: OntapRecord[]; matched: number; more: boolean } {
  const matching = records.filter((record) =>
    query.filters.every(({ field, holds }) => valuesAt(record, field).some(holds)),
  )
  const ordered = matching.toSorted((a, b) => {
    for (const { field, descending } of query.orderBy) {
      const order = compare(valuesAt(a, field)[0] ?? null, valuesAt(b, field)[0] ?? null)
      if (order !== 0) return descending ? -order : order
    }
    return 0
  })
  const page = ordered.slice(query.skip, query.skip + query.maxRecords)
  return { page, matched: matching.length, more: query.skip + page.length < matching.length }
}

/** The record's identity and the fields that were asked for, filtered on or ordered by, as ONTAP answers. */
export function project(
  record: OntapRecord,
  query: Pick<OntapQuery, 'fields' | 'excluded' | 'filters' | 'orderBy'>,
): OntapRecord {
  if (query.excluded.length > 0) {
    const whole = project(record, { ...query, excluded: [] })
    return query.excluded.reduce((rest, field) => without(rest, field.split('.')), whole)
  }
  const wanted = [...query.fields, ...query.filters.map((f) => f.field), ...query.orderBy.map((o) => o.field)]
  if (wanted.includes('*') || wanted.includes('**')) return record
  const result: OntapRecord = {}
  for (const field of ['uuid', 'name', '_links', ...wanted]) copyField(record, result, field.split('.'))
  return result
}

/** The values at a dotted path; an array on the way has as many as it has entries. One `undefined` where there is none. */
function valuesAt(value: Json | undefined, field: string): (Json | undefined)[] {
  let found: (Json | undefined)[] = [value]
  for (const part of field.split('.')) {
    found = found
      .flatMap((one) => (Array.isArray(one) ? one : [one]))
      .map((one) => (isObject(one) ? one[part] : undefined))
  }
  return found.flatMap((one) => (Array.isArray(one) ? one : [one]))
}

/** All dotted paths of a record that has every field of its kind. */
export function fieldsOf(example: OntapRecord): Set<string> {
  const names = new Set<string>()
  const visit = (value: Json, path: string): void => {
    if (path !== '') names.add(path)
    const inner = Array.isArray(value) ? value[0] : value
    if (!isObject(inner)) return
    for (const [key, part] of Object.entries(inner)) {
      if (key !== '_links') visit(part as Json, path === '' ? key : `${path}.${key}`)
    }
  }
  visit(example, '')
  return names
}

/** A copy without the field, which may be within lists. */
function without(record: OntapRecord, [head = '', ...rest]: string[]): OntapRecord {
  const value = record[head]
  if (value === undefined) return record
  const { [head]: _, ...others } = record
  if (rest.length === 0) return others
  const part = (inner: Json): Json => (isObject(inner) ? without(inner, rest) : inner)
  return { ...record, [head]: Array.isArray(value) ? value.map(part) : part(value) }
}

function copyField(from: Json | undefined, to: OntapRecord, path: string[]): void {
  const [head, ...rest] = path
  if (head === undefined || !isObject(from)) return
  const value = from[head]
  if (value === undefined) return
  if (rest.length === 0 || typeof value !== 'object' || value === null) {
    to[head] = value
    return
  }
  if (Array.isArray(value)) {
    // Each entry beside what an earlier field took of it.
    const before = Array.isArray(to[head]) ? to[head] : []
    to[head] = value.map((entry, index) => ({ ...asObject(before[index]), ...only(entry, rest) }))
    return
  }
  const inner = isObject(to[head]) ? to[head] : {}
  copyField(value, inner, rest)
  if (Object.keys(inner).length > 0) to[head] = inner
}

const asObject = (value: Json | undefined): OntapRecord => (isObject(value) ? value : {})

function only(value: Json, path: string[]): OntapRecord {
  const result: OntapRecord = {}
  copyField(value, result, path)
  return result
}

const isObject = (value: Json | undefined): value is OntapRecord =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const listOf = (value: string): string[] =>
  value
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')

/** A field, or the beginning of some (`space` for `space.size`). */
const isKnown = (field: string, known: ReadonlySet<string>): boolean =>
  field === '*' || field === '**' || known.has(field)

/** `space.*` means `space`. */
const plainField = (field: string): string => field.replace(/^!/, '').replace(/(?<=.)\.\*$/, '')

function requireField(field: string, target: string, known: ReadonlySet<string>): string {
  const wanted = plainField(field)
  if (!isKnown(wanted, known)) throw OntapError.unknownField(wanted, target)
  return wanted
}

function orderOf(term: string, known: ReadonlySet<string>): { field: string; descending: boolean } {
  const [field = '', direction = 'asc', ...rest] = term.split(/\s+/)
  if (rest.length > 0 || !['asc', 'desc'].includes(direction.toLowerCase())) {
    throw OntapError.invalidValue('order_by', term, 'a field, with "asc" or "desc" after it')
  }
  return { field: requireField(field, 'order_by', known), descending: direction.toLowerCase() === 'desc' }
}

function wholeNumber(name: string, value: string, min: number, max: number): number {
  const number = Number(value)
  if (value.trim() === '' || !Number.isInteger(number) || number < min || number > max) {
    throw OntapError.invalidValue(name, value, `a whole number from ${min} to ${max}`)
  }
  return number
}

export function flag(name: string, value: string): boolean {
  if (value === 'true' || value === '1') return true
  if (value === 'false' || value === '0') return false
  throw OntapError.invalidValue(name, value, 'true or false')
}

/** `a|b` or `a,b`: either; `!x`: not; `<`, `<=`, `>`, `>=`; `a..b`: between, ends included; `*` in text: anything. */
function predicate(text: string): (value: Json | undefined) => boolean {
  if (text.startsWith('"') && text.endsWith('"') && text.length > 1) return equals(text.slice(1, -1), false)
  const alternatives = text.split(/[|,]/)
  if (alternatives.length > 1) {
    const each = alternatives.map((part) => predicate(part.trim()))
    return (value) => each.some((holds) => holds(value))
  }
  if (text.startsWith('!')) {
    const not = predicate(text.slice(1))
    return (value) => !not(value)
  }
  const comparison = /^(<=|>=|<|>)(.*)$/.exec(text)
  if (comparison !== null) return compared(comparison[1] ?? '', comparison[2] ?? '')
  const range = /^(.+)\.\.(.+)$/.exec(text)
  if (range !== null) {
    const [least, most] = [compared('>=', range[1] ?? ''), compared('<=', range[2] ?? '')]
    return (value) => least(value) && most(value)
  }
  return equals(text, true)
}

function equals(text: string, wildcards: boolean): (value: Json | undefined) => boolean {
  if (wildcards && text === 'null') return (value) => value === undefined || value === null
  const pattern =
    wildcards && text.includes('*')
      ? new RegExp(`^${text.split('*').map(RegExp.escape).join('.*')}$`, 's')
      : undefined
  return (value) => {
    if (value === undefined || value === null) return false
    if (typeof value === 'number') return pattern === undefined ? value === sizeOf(text) : true
    if (typeof value === 'object') return false
    return pattern === undefined ? String(value) === text : pattern.test(String(value))
  }
}

function compared(operator: string, text: string): (value: Json | undefined) => boolean {
  const holds = (order: number): boolean =>
    operator === '<' ? order < 0 : operator === '<=' ? order <= 0 : operator === '>' ? order > 0 : order >= 0
  const number = sizeOf(text)
  return (value) => {
    if (typeof value === 'number') return number !== undefined && holds(value - number)
    return typeof value === 'string' && holds(compare(value, text))
  }
}

const units: Record<string, number> = { '': 1, k: 10, m: 20, g: 30, t: 40, p: 50 }

/** `10`, `10k`, `10KB`, `1.5GB`: ONTAP's units are powers of 1024. */
export function sizeOf(text: string): number | undefined {
  const match = /^(-?\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?$/i.exec(text.trim())
  if (match === null) return undefined
  const unit = (match[2] ?? '').toLowerCase()
  return Number(match[1]) * (unit === '' ? 1 : 2 ** (units[unit] ?? 0))
}

function compare(a: Json, b: Json): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1
  return String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0
}
