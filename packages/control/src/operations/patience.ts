import type { RetryPolicy } from '@volant/saga'

/**
 * For steps that call an agent and may be tried again: half a minute, in which a process of agents that died is
 * running again, on a busy machine too.
 */
export const throughRestart: RetryPolicy = { attempts: 12, backoff: { first: '250ms', longest: '5s' } }
