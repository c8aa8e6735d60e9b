import type { Caller } from '@volant/contract'

/** What an operation shows to the node agents. */
export const callerOf = (op: { id: string; fence: number }): Caller => ({
  fence: op.fence,
  operationId: op.id,
})
