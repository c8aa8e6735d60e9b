import { DomainError } from '@volant/contract'
import type { Kysely } from 'kysely'
import type { Database } from '../schema.ts'

/** The update is for its lock: whoever takes over now waits until the truth is written, and then sees it. */
export async function checkFence(trx: Kysely<Database>, fence: number): Promise<void> {
  const locked = await trx
    .updateTable('operation_fence')
    .set((eb) => ({ fence: eb.ref('fence') }))
    .where('fence', '<=', fence)
    .executeTakeFirst()
  if (locked.numUpdatedRows > 0n) return
  const newest = await trx.selectFrom('operation_fence').select('fence').executeTakeFirst()
  if (newest === undefined) return
  throw new DomainError(
    'staleFence',
    `The fence number ${fence} is older than ${newest.fence}: another control plane has taken over.`,
  )
}
