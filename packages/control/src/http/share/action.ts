import { DomainError } from '@volant/contract'
import { actionOf } from '../action-body.ts'
import { booleanOf, type Answer } from '../answer.ts'
import { param, requireVersion, type ShareCall, type ShareRoutes, type Versions } from './call.ts'

export { argument } from '../action-body.ts'

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
    const { action, argument: value } = actionOf(call.body, actions)
    requireVersion(call, action)
    return action.run(call, param(call, idName), value)
  })
}

/** The same action under the name that it had as an extension (until 2.6), and under its own. */
export const renamed = (name: string, run: Action['run']): Record<string, Action> => ({
  [`os-${name}`]: { run, until: '2.6' },
  [name]: { run, since: '2.7' },
})

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
