/** The errors that every store throws in the same words. */
import { DomainError } from '@volant/contract/errors.ts'
import type { Holder, Writer } from './store.ts'

export const staleWriter = (writer: Writer, newest: Writer | undefined): DomainError =>
  new DomainError(
    'staleFence',
    `Control plane '${writer.owner}' with fence ${writer.fence} has been replaced` +
      (newest ? ` by '${newest.owner}' with fence ${newest.fence}.` : '.'),
  )

export const held = (holder: Holder): DomainError =>
  new DomainError(
    'conflict',
    `${holder.key} is in use by operation ${holder.runId} (${holder.kind}): wait for its end, or cancel it.`,
    { detail: holder },
  )

export const missing = (runId: string): DomainError =>
  new DomainError('notFound', `There is no operation ${runId}.`)
