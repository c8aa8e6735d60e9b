import type { TSchema } from 'typebox'
import { Value } from 'typebox/value'
import { ConfigFile } from './schema.ts'
import type { ConfigPath, ProblemCollector } from './problem.ts'

interface ShapeError {
  keyword: string
  schemaPath: string
  instancePath: string
  params: Record<string, unknown>
  message: string
}

const kindOf = (value: unknown): string => {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a block of keys'
  if (typeof value === 'string') return `the text ${JSON.stringify(value)}`
  return `the ${typeof value} ${String(value)}`
}
const wanted: Record<string, string> = {
  string: 'text',
  integer: 'a whole number',
  object: 'a block of keys',
  array: 'a list',
}

/** `/clusters/0/name` to `['clusters', 0, 'name']`, the numbers being indices of lists. */
function pathOf(pointer: string, root: unknown): ConfigPath {
  const parts = pointer.split('/').slice(1)
  const path: ConfigPath = []
  let value = root
  for (const part of parts) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    path.push(Array.isArray(value) ? Number(key) : key)
    value = (value as Record<string, unknown> | null | undefined)?.[key]
  }
  return path
}

const valueAt = (root: unknown, path: ConfigPath): unknown =>
  path.reduce<unknown>((value, part) => (value as Record<string, unknown> | undefined)?.[part], root)

/** The schema that an error's `schemaPath` points at. */
const schemaAt = (pointer: string): Record<string, unknown> | undefined =>
  pointer
    .split('/')
    .slice(1)
    .reduce<unknown>(
      (schema, part) => (schema as Record<string, unknown> | undefined)?.[part],
      ConfigFile,
    ) as Record<string, unknown> | undefined

/** How many letters differ (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, swap))
    }
    row = next
  }
  return row[b.length] ?? 0
}

/** The known key that is one or two typing errors away. */
function nearest(key: string, known: readonly string[]): string | undefined {
  const ranked = known.map((name) => ({ name, far: distance(key, name) })).sort((a, b) => a.far - b.far)
  return ranked[0] !== undefined && ranked[0].far <= 2 ? ranked[0].name : undefined
}

function unknownKey(key: string, schema: Record<string, unknown> | undefined): string {
  const known = Object.keys((schema?.['properties'] as Record<string, unknown> | undefined) ?? {})
  const guess = nearest(key, known)
  return `there is no key '${key}' here; ${guess === undefined ? `known are ${known.join(', ')}` : `is '${guess}' meant?`}`
}

function describe(error: ShapeError, value: unknown): string {
  const schema = schemaAt(error.schemaPath)
  if (error.keyword === 'type') {
    const type = String(error.params['type'])
    return `must be ${wanted[type] ?? type}, not ${kindOf(value)}`
  }
  if (error.keyword === 'pattern')
    return `${kindOf(value)} ${String(schema?.['description'] ?? error.message)}`
  if (error.keyword === 'minItems') return 'the list must not be empty'
  return `${kindOf(value)} ${error.message}`
}

/** Checks keys and types against the schema; true where the value has the form of a `ConfigFile`. */
export function checkShape(value: unknown, problems: ProblemCollector): value is ConfigFile {
  const errors = [...Value.Errors(ConfigFile as TSchema, value)] as unknown as ShapeError[]
  for (const error of errors) {
    const path = pathOf(error.instancePath, value)
    if (error.keyword === 'boolean') continue
    if (error.keyword === 'additionalProperties') {
      for (const key of error.params['additionalProperties'] as string[]) {
        problems.add([...path, key], unknownKey(key, schemaAt(error.schemaPath)), 'key')
      }
    } else if (error.keyword === 'required') {
      for (const key of error.params['requiredProperties'] as string[])
        problems.add(path, `'${key}' is missing`)
    } else {
      problems.add(path, describe(error, valueAt(value, path)))
    }
  }
  return errors.length === 0
}
