import { DomainError } from '@volant/contract'
import type { TSchema } from 'typebox'
import { booleanOf, type Answer } from '../answer.ts'
import { parser } from '../parse.ts'
import { param, requireVersion, type ShareCall, type ShareRoutes, type Versions } from './call.ts'

export interface Action extends Versions {
  run(call: ShareCall, id: string, argument: unknown): Promise<Answer>
}

/** `POST PATH/action` with a body of one action: `{"extend": {"new_size": 2}}`. */
export function registerActions(
  routes: ShareRoutes,
  path: `${string}/:${string}`,
  actions: Readonly<Record<string, Action>>,
): void {
  const idName = path.slice(path.lastIndexOf(':') + 1)
  routes.post(`${path}/action`, async (call) => {
    const { body } = call
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
    requireVersion(call, action)
    return action.run(call, param(call, idName), (body as Record<string, unknown>)[name])
  })
}

/** The same action under the name that it had as an extension (until 2.6), and under its own. */
export const renamed = (name: string, run: Action['run']): Record<string, Action> => ({
  [`os-${name}`]: { run, until: '2.6' },
  [name]: { run, since: '2.7' },
})

/** An argument that must be an object; nothing and null count as an empty one. */
export function argument<T extends TSchema>(name: string, schema: T) {
  const parse = parser(schema, `argument of ${name}`)
  return (value: unknown) => parse(value === null || value === undefined ? {} : value)
}

/** Absent: `otherwise`. */
export function flag(value: unknown, name: string, otherwise = false): boolean {
  const found = booleanOf(value ?? otherwise)
  if (found !== undefined) return found
  throw new DomainError('invalid', `Invalid input received: ${name} must be true or false.`)
}

export function oneOf<T extends string>(name: string, value: string, allowed: readonly T[]): T {
  if ((allowed as readonly string[]).includes(value)) return value as T
  throw new DomainError(
    'invalid',
    `Invalid state '${value.slice(0, 80)}'. Valid ${name}s: ${allowed.join(', ')}.`,
  )
}
