import { DomainError, messageOf } from '@volant/contract'
import type { FastifyInstance } from 'fastify'
import { Type, type Static, type TSchema } from 'typebox'
import { Compile } from 'typebox/compile'

/** Text of 0 to 255 characters of any script, without control characters: the form of every name. */
export const nameText = (options: { minLength?: number; maxLength?: number } = {}) =>
  Type.String({
    minLength: options.minLength ?? 0,
    maxLength: options.maxLength ?? 255,
    pattern: '^[^\\u0000-\\u001f\\u007f]*$',
  })

/** Free text: as names, and line breaks and tabs. */
export const longText = (maxLength: number) =>
  Type.String({ maxLength, pattern: '^[^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f]*$' })

/** Ids as OpenStack's services make them: hex, with or without dashes, or the words `default` and `all`. */
export const idText = () => Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9_-]+$' })

/**
 * A typed check without coercion: `"5"` is no number and `5` no text. Throws `invalid`, naming the field that
 * is wrong and what would be right.
 */
export function parser<T extends TSchema>(schema: T, what = 'request body'): (value: unknown) => Static<T> {
  const check = Compile(schema)
  return (value) => {
    if (check.Check(value)) return value as Static<T>
    const first = check.Errors(value)[0]
    const field =
      first === undefined || first.instancePath === '' ? '' : ` at '${shorten(first.instancePath)}'`
    throw new DomainError(
      'invalid',
      `Invalid ${what}${field}: ${first?.message ?? 'not of the expected form'}.`,
    )
  }
}

const shorten = (text: string): string => (text.length > 120 ? `${text.slice(0, 120)}…` : text)

/**
 * Bodies are JSON. An empty one is none, whatever its content type says, because clients send the header with
 * DELETE and PUT too.
 */
export function acceptJson(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser(
    /^application\/([\w.-]+[+-])?json/,
    { parseAs: 'string' },
    (request, body, done) => {
      if (body === '') return done(null, undefined)
      void parse(request, body as string, (error, value) => {
        if (error === null) return done(null, value)
        done(new DomainError('invalid', `The request body is not JSON: ${messageOf(error)}.`))
      })
    },
  )
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => {
    if (body === '') return done(null, undefined)
    done(
      new DomainError('invalid', 'The request body must be JSON, with the content type application/json.', {
        httpStatus: 415,
      }),
    )
  })
}
