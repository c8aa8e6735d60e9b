import { DomainError } from '@volant/contract'
import type { TSchema } from 'typebox'
import { parser } from './parse.ts'

/** The one action that a body names, such as `{"os-extend": {"new_size": 2}}`, and its argument. */
export function actionOf<Action>(
  body: unknown,
  actions: Readonly<Record<string, Action>>,
): { action: Action; argument: unknown } {
  const names = body !== null && typeof body === 'object' && !Array.isArray(body) ? Object.keys(body) : []
  const name = names[0]
  const action = name !== undefined && Object.hasOwn(actions, name) ? actions[name] : undefined
  if (names.length !== 1 || name === undefined || action === undefined) {
    throw new DomainError(
      'invalid',
      `There is no such action: ${JSON.stringify(names.join(', ').slice(0, 120))}. The body must name one of: ` +
        `${Object.keys(actions).join(', ')}.`,
    )
  }
  return { action, argument: (body as Record<string, unknown>)[name] }
}

/** An argument that must be an object; nothing and null count as an empty one. */
export function argument<T extends TSchema>(name: string, schema: T) {
  const parse = parser(schema, `argument of ${name}`)
  return (value: unknown) => parse(value === null || value === undefined ? {} : value)
}
