import { storageMethods } from '@volant/contract'
import type { Aggregates } from './aggregates.ts'

/**
 * The agent, with every aggregate that a call names made ready before the call: written once, so that no call can
 * forget it.
 */
export const mountedFirst = <Agent extends object>(agent: Agent, aggregates: Aggregates): Agent =>
  new Proxy(agent, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      const call = value.bind(target) as (...given: unknown[]) => unknown
      if (typeof name !== 'string' || !(name in storageMethods)) return call
      return async (...given: unknown[]) => {
        const named = name === 'aggregateSpace' ? [String(given[0])] : [...aggregatesIn(given)]
        for (const aggregate of new Set(named)) await aggregates.ready(aggregate)
        return call(...given)
      }
    },
  })

/**
 * Arguments are plain JSON; whatever names an aggregate of its own calls it so. Where a copy goes to an export, its target
 * is another node's.
 */
function* aggregatesIn(value: unknown): Generator<string> {
  if (typeof value !== 'object' || value === null) return
  const isElsewhere = 'toExport' in value && value.toExport !== undefined
  for (const [key, one] of Object.entries(value)) {
    if (key === 'to' && isElsewhere) continue
    if (key === 'aggregate' && typeof one === 'string') yield one
    else yield* aggregatesIn(one)
  }
}
