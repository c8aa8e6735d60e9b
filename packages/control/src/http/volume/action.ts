import { DomainError } from '@volant/contract'
import { actionOf } from '../action-body.ts'
import { booleanOf, param, type Answer, type VolumeCall, type VolumeRoutes } from './call.ts'

export { argument } from '../action-body.ts'

export type Action = (call: VolumeCall, id: string, argument: unknown) => Promise<Answer>

/** `POST PATH/action` with a body of one action: `{"os-extend": {"new_size": 2}}`. */
export function registerActions(
  routes: VolumeRoutes,
  path: `${string}/:${string}`,
  actions: Readonly<Record<string, Action>>,
): void {
  const idName = path.slice(path.lastIndexOf(':') + 1)
  routes.post(`${path}/action`, async (call) => {
    const { action, argument: value } = actionOf(call.body, actions)
    return action(call, param(call, idName), value)
  })
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
