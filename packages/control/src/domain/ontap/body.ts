/**
 * Bodies of ONTAP's requests: `{"movement": {"state": "wait"}}` and `{"movement.state": "wait"}` say the same, and stock
 * clients send numbers and booleans as text. Pure.
 */
import { OntapError, ontapCodes } from './error.ts'
import { sizeOf } from './query.ts'

/** The fields of a body, by their dotted names; values as they came. Lists stay lists. */
export type Fields = ReadonlyMap<string, unknown>

const deepest = 10

/** Throws `OntapError` where the body is no object, or says something twice. */
export function fieldsOfBody(body: unknown): Map<string, unknown> {
  const fields = new Map<string, unknown>()
  if (body === undefined || body === null || body === '') return fields
  if (!isObject(body)) {
    throw new OntapError(400, ontapCodes.invalid, 'The request body must be a JSON object.')
  }
  const visit = (value: object, path: string, depth: number): void => {
    for (const [key, part] of Object.entries(value)) {
      const name = path === '' ? key : `${path}.${key}`
      if (key === '_links') continue
      if (isObject(part) && depth < deepest) visit(part, name, depth + 1)
      else if (fields.has(name)) {
        throw new OntapError(400, ontapCodes.repeatedField, `Field "${name}" is given twice.`, name)
      } else fields.set(name, part)
    }
  }
  visit(body, '', 1)
  return fields
}

/**
 * Refuses fields that are not in `settable`: those that a record of the resource shows (`shown`) because they cannot be
 * set, all others because nobody knows them. What is in `settable` with a `.*` has any fields below it.
 */
export function requireSettable(
  fields: Fields,
  settable: readonly string[],
  shown: ReadonlySet<string>,
  ignoreUnknown: boolean,
): void {
  for (const name of fields.keys()) {
    if (settable.includes(name)) continue
    if (settable.some((one) => one.endsWith('.*') && name.startsWith(one.slice(0, -1)))) continue
    if (shown.has(name)) throw OntapError.readOnlyField(name)
    if (!ignoreUnknown) throw OntapError.unexpectedArgument(name)
  }
}

/** For an error, which puts quotes around it. */
const asGiven = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))

/** Undefined: it is not there. */
export function textField(fields: Fields, name: string): string | undefined {
  const value = fields.get(name)
  if (value === undefined) return undefined
  if (typeof value !== 'string') throw OntapError.invalidValue(name, JSON.stringify(value), 'text')
  return value
}

export function booleanField(fields: Fields, name: string): boolean | undefined {
  const value = fields.get(name)
  if (value === undefined) return undefined
  if (value === true || value === 'true') return true
  if (value === false || value === 'false') return false
  throw OntapError.invalidValue(name, asGiven(value), 'true or false')
}

export function numberField(
  fields: Fields,
  name: string,
  { least, most, unit }: { least: number; most: number; unit: string },
): number | undefined {
  const value = fields.get(name)
  if (value === undefined) return undefined
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
  if (typeof number === 'number' && Number.isInteger(number) && number >= least && number <= most)
    return number
  throw OntapError.invalidValue(name, asGiven(value), `a whole number of ${unit} from ${least} to ${most}`)
}

/** Bytes: a number, or text such as `20GB`, whose units are powers of 1024 as everywhere in ONTAP. */
export function sizeField(fields: Fields, name: string): number | undefined {
  const value = fields.get(name)
  if (value === undefined) return undefined
  const bytes = typeof value === 'string' ? sizeOf(value) : value
  if (typeof bytes === 'number' && Number.isInteger(bytes) && bytes > 0 && bytes <= Number.MAX_SAFE_INTEGER) {
    return bytes
  }
  throw OntapError.invalidValue(name, asGiven(value), 'a size in bytes such as 1073741824, or "1GB"')
}

/** A thing that is named by `name`, by `uuid`, or by both. */
export interface Reference {
  name?: string
  uuid?: string
}

export function referenceField(fields: Fields, name: string): Reference | undefined {
  const byName = textField(fields, `${name}.name`)
  const byUuid = textField(fields, `${name}.uuid`)
  if (byName === undefined && byUuid === undefined) {
    const other = fields.get(name)
    if (other === undefined) return undefined
    throw OntapError.invalidValue(name, JSON.stringify(other), 'an object with "name" or "uuid"')
  }
  return { ...(byName !== undefined && { name: byName }), ...(byUuid !== undefined && { uuid: byUuid }) }
}

/** As `referenceField`, of a list with one entry: `"aggregates": [{"name": "aggr1"}]` or `"aggregates.name": "aggr1"`. */
export function onlyReferenceField(fields: Fields, name: string): Reference | undefined {
  const list = fields.get(name)
  if (!Array.isArray(list)) return referenceField(unlisted(fields, name), name)
  if (list.length !== 1 || !isObject(list[0])) {
    throw OntapError.invalidValue(
      name,
      JSON.stringify(list),
      'a list of exactly one object with "name" or "uuid"',
    )
  }
  return referenceField(fieldsOfBody({ [name]: list[0] }), name)
}

/** `"aggregates.name": ["aggr1"]` says the same as `"aggregates.name": "aggr1"`. */
function unlisted(fields: Fields, name: string): Fields {
  const parts = ['name', 'uuid'].map((part) => `${name}.${part}`)
  return new Map(
    [...fields].map(([key, value]) => [
      key,
      parts.includes(key) && Array.isArray(value) && value.length === 1 ? (value[0] as unknown) : value,
    ]),
  )
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
