import type { Server } from './server.ts'

/** What is done with a server when its compute host is drained. */
const drainPolicies = ['live', 'cold', 'stop', 'hold'] as const
export type DrainPolicy = (typeof drainPolicies)[number]

/** The key in a server's metadata that says what is done with it, whatever the drain's default is. */
const drainPolicyKey = 'volant:drain'

/** How a server leaves its host, comes back, or is made still; each is an operation of its own. */
export type Way = 'live' | 'cold' | 'stop' | 'start'

/** What a drain, or a restore, has to do with one server now. */
export type Task =
  | { kind: 'go'; way: Way }
  /** It is as it should be, and stays so: stopped on its host, as its policy wants. */
  | { kind: 'rests'; reason: string }
  /** It can't go, or is not to; nothing but a person changes that. */
  | { kind: 'stays'; reason: string }
  /** Somebody else works on it: it is looked at again. */
  | { kind: 'busy'; reason: string }
  /** Of a restore: it is nothing to be brought back any more. */
  | { kind: 'over'; reason: string }

type Facts = Pick<Server, 'vmState' | 'taskState' | 'metadata' | 'boot'>

/** The server's own policy; undefined: it has none. `invalid`: one that does not exist, with its words. */
function ownPolicy({ metadata }: Pick<Server, 'metadata'>): DrainPolicy | { invalid: string } | undefined {
  const own = metadata[drainPolicyKey]
  if (own === undefined) return undefined
  return drainPolicies.find((policy) => policy === own) ?? { invalid: own }
}

/** What is against any move of the server in its state. */
function hindrance({ vmState, taskState }: Facts): Task | undefined {
  if (taskState !== null) return { kind: 'busy', reason: `it is ${taskState}` }
  if (vmState === 'building') return { kind: 'busy', reason: 'it is being built' }
  if (vmState === 'resized') {
    return { kind: 'stays', reason: 'its resize waits for nova resize-confirm or resize-revert' }
  }
  if (vmState === 'error') {
    return {
      kind: 'stays',
      reason: 'it is in error: delete it, or say that it is well with nova reset-state --active',
    }
  }
  return undefined
}

/**
 * What a drain does with a server on its host. A paused one goes live whatever its policy is, unless that is hold: the other
 * ways would lose the state in which it was paused. One that is stopped moves cold, for it must leave, too.
 */
export function drainTask(server: Facts, fallback: DrainPolicy): Task {
  const own = ownPolicy(server)
  if (typeof own === 'object') {
    return {
      kind: 'stays',
      reason: `its ${drainPolicyKey} is '${own.invalid}'; it must be one of ${drainPolicies.join(', ')}`,
    }
  }
  const policy = own ?? fallback
  if (policy === 'hold') return { kind: 'stays', reason: 'its policy is hold' }
  const hindered = hindrance(server)
  if (hindered !== undefined) return hindered
  const isStopped = server.vmState === 'stopped'
  if (isStopped && policy === 'stop') return { kind: 'rests', reason: 'it is stopped' }
  const way = isStopped ? 'cold' : server.vmState === 'paused' ? 'live' : policy
  if (way !== 'stop' && server.boot.rootDisk !== undefined) {
    return {
      kind: 'stays',
      reason: `its root disk is a file on its host and stays there; with ${drainPolicyKey}=stop it may stay, stopped`,
    }
  }
  return { kind: 'go', way }
}

/** What a drain has recorded of a server that it took away. */
export interface Taken {
  home: string
  how: 'live' | 'cold' | 'stop'
  wasRunning: boolean
  broughtTo: string
}

/** What a restore does with a server of which a drain keeps a record. */
export function restoreTask(server: (Facts & Pick<Server, 'host'>) | undefined, taken: Taken): Task {
  if (server === undefined) return { kind: 'over', reason: 'it was deleted' }
  if (server.host === taken.home) {
    if (taken.how !== 'stop' || !taken.wasRunning) return { kind: 'over', reason: 'it is at home' }
    const hindered = hindrance(server)
    if (hindered !== undefined) return hindered
    if (server.vmState === 'stopped') return { kind: 'go', way: 'start' }
    return { kind: 'over', reason: 'it runs' }
  }
  const hindered = hindrance(server)
  // Whoever is on its way may yet come home, or go elsewhere.
  if (hindered?.kind === 'busy') return hindered
  if (server.host !== taken.broughtTo) {
    return { kind: 'over', reason: `it was moved to ${server.host ?? 'no host'} since` }
  }
  if (server.metadata[drainPolicyKey] === 'hold') return { kind: 'stays', reason: 'its policy is hold' }
  if (hindered !== undefined) return hindered
  if (server.vmState === 'stopped') return { kind: 'go', way: 'cold' }
  return { kind: 'go', way: server.vmState === 'paused' || taken.how !== 'cold' ? 'live' : 'cold' }
}

/** Whether the record is of something that a restore would change, or look at. */
export const isTaken = (server: Pick<Server, 'host' | 'vmState'> | undefined, taken: Taken): boolean =>
  server !== undefined &&
  (server.host !== taken.home || (taken.how === 'stop' && taken.wasRunning && server.vmState === 'stopped'))

/** The service's reason while a drain is under way, or has emptied its host. */
export const drainedReason = (operationId: string): string => `drained by operation ${operationId}`

/** The same, where servers have stayed: the service stays disabled, for the rest is an operator's. */
export const notEmptyReason = (operationId: string): string => `${drainedReason(operationId)}, not empty`

export const isDrainedReason = (reason: string | null): boolean =>
  reason !== null && reason.startsWith('drained by operation ')

/** Whether a refusal, in Nova's words, is one of the scheduler: another server may have room soon. */
export const isForRoom = (reason: string): boolean => reason.includes('No valid host was found')
