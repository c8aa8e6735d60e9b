import { DomainError } from '@volant/contract'
import Type, { type Static, type TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { nameText } from '../parse.ts'
import { atLeast, type Microversion } from '../microversion.ts'

/** The Compute API's parameter types (nova/api/validation/parameter_types.py), as TypeBox schemas. */
export const strict = <P extends Record<string, TSchema>>(properties: P) =>
  Type.Object(properties, { additionalProperties: false })

/** 1 to 255 printable characters, without white space at either end. */
export const name = () =>
  Type.String({ minLength: 1, maxLength: 255, pattern: '^(?!\\s)[^\\u0000-\\u001f\\u007f]*(?<!\\s)$' })

export const description = () => Type.Union([nameText({ maxLength: 255 }), Type.Null()])

export const uuid = () =>
  Type.String({
    pattern: '^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$',
  })

export const idText = () => Type.String({ minLength: 1, maxLength: 255, pattern: '^[A-Za-z0-9. _-]+$' })

/** A number, or its digits. */
export const integer = (minimum: number, maximum = 0x7fffffff) =>
  Type.Union([Type.Integer({ minimum, maximum }), Type.String({ pattern: '^-?[0-9]{1,10}$' })])

export const boolean = () =>
  Type.Union([
    Type.Boolean(),
    Type.String({ pattern: '^(?:[Tt]rue|TRUE|1|[Oo]n|ON|[Yy]es|YES|[Ff]alse|FALSE|0|[Oo]ff|OFF|[Nn]o|NO)$' }),
  ])

export const metadata = () =>
  Type.Record(Type.String({ pattern: '^[a-zA-Z0-9_:. -]{1,255}$' }), nameText({ maxLength: 255 }), {
    additionalProperties: false,
  })

export const tag = () =>
  Type.String({ minLength: 1, maxLength: 60, pattern: '^[^,/\\u0000-\\u001f\\u007f]*$' })

export const hostName = () => Type.String({ minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9._-]+$' })

/** Within `minimum` and `maximum`, for the text form too. */
export function toInteger(
  value: number | string,
  field: string,
  minimum: number,
  maximum = 0x7fffffff,
): number {
  const number = Number(value)
  if (Number.isSafeInteger(number) && number >= minimum && number <= maximum) return number
  throw new DomainError(
    'invalid',
    `Invalid input for field/attribute ${field}. Value: ${value}. It must be a whole number from ${minimum} to ` +
      `${maximum}.`,
  )
}

export const toBoolean = (value: boolean | string): boolean =>
  typeof value === 'boolean' ? value : /^(?:true|1|on|yes)$/i.test(value)

export const unexpected = (field: string): DomainError =>
  new DomainError('invalid', `Additional properties are not allowed ('${shorten(field)}' was unexpected)`)

/** Refuses fields that the microversion does not have yet, as Nova's schema of that version would. */
export function requireKnown(
  version: Microversion,
  body: object,
  since: Readonly<Record<string, string>>,
): void {
  for (const [field, minimum] of Object.entries(since)) {
    if (field in body && !atLeast(version, minimum)) throw unexpected(field)
  }
}

const shorten = (text: string): string => (text.length > 100 ? `${text.slice(0, 100)}…` : text)

/** A strict check of a body. Throws `invalid` with Nova's words, naming the field. */
export function bodyOf<T extends TSchema>(schema: T): (body: unknown) => Static<T> {
  const check = Compile(schema)
  return (body) => {
    if (check.Check(body)) return body as Static<T>
    throw new DomainError('invalid', explain(check.Errors(body), body))
  }
}

interface SchemaError {
  keyword: string
  instancePath: string
  params: object
  message?: string
}

function explain(errors: readonly SchemaError[], body: unknown): string {
  const extra = errors.find(({ keyword }) => keyword === 'additionalProperties')
  if (extra !== undefined) {
    const [field] = (extra.params as { additionalProperties?: string[] }).additionalProperties ?? []
    return unexpected(field ?? '').message
  }
  // Of a union, the deepest failure says what is wrong.
  const error = errors.toSorted((a, b) => b.instancePath.length - a.instancePath.length)[0]
  if (error === undefined) return 'Invalid request body.'
  if (error.keyword === 'required') {
    const [field] = (error.params as { requiredProperties?: string[] }).requiredProperties ?? []
    return `'${field}' is a required property`
  }
  if (error.instancePath === '') return `The request body ${error.message ?? 'is not of the expected form'}.`
  const field = error.instancePath.split('/').findLast((part) => !/^\d*$/.test(part)) ?? ''
  const value = shorten(JSON.stringify(at(body, error.instancePath)) ?? '')
  return `Invalid input for field/attribute ${shorten(field)}. Value: ${value}. It ${error.message ?? 'is wrong'}.`
}

/** The value at a JSON pointer. */
function at(body: unknown, pointer: string): unknown {
  let value = body
  for (const part of pointer.split('/').slice(1)) {
    if (typeof value !== 'object' || value === null) return undefined
    value = (value as Record<string, unknown>)[part.replaceAll('~1', '/').replaceAll('~0', '~')]
  }
  return value
}
