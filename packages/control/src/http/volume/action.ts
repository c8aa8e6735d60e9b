import { DomainError } from '@volant/contract'
import type { TSchema } from 'typebox'
import { parser } from '../parse.ts'
import { booleanOf, param, type Answer, type VolumeCall, type VolumeRoutes } from './call.ts'

export type Action = (call: VolumeCall, id: string, argument: unknown) => Promise<Answer>

/** `POST PATH/action` with a body of one action: `{"os-extend": {"new_size": 2}}`. */
export function registerActions(
  routes: VolumeRoutes,
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
    return action(call, param(call, idName), (body as Record<string, unknown>)[name])
  })
}

/** An argument that must be an object; nothing and null count as an empty one. */
export function argument<T extends TSchema>(name: string, schema: T) {
  const parse = parser(schema, `argument of ${name}`)
  return (value: unknown) => parse(value === null || value === undefined ? {} : value)
}

/** Absent: false. */
export function flag(value: unknown, name: string): boolean {
  const found = booleanOf(value ?? false)
  if (found === undefined) throw new DomainError('invalid', `${name} must be true or false.`)
  return found
}

export function oneOf<T extends string>(name: string, value: string, allowed: readonly T[]): T {
  if ((allowed as readonly string[]).includes(value)) return value as T
  throw new DomainError('invalid', `Must specify a valid ${name}: one of ${allowed.join(', ')}.`)
}
