import { DomainError } from '@volant/contract'
import type { Kysely } from 'kysely'
import { preparedChange } from '../prepared.ts'
import type { Database } from '../schema.ts'

/** The update is for its lock: whoever takes over now waits until the truth is written, and then sees it. */
const lock = preparedChange<{ fence: number }>((db, given) =>
  db
    .updateTable('operation_fence')
    .set((eb) => ({ fence: eb.ref('fence') }))
    .where('fence', '<=', given('fence')),
)

export async function checkFence(trx: Kysely<Database>, fence: number): Promise<void> {
  const locked = await lock(trx, { fence })
  if (locked.numAffectedRows) return
  const newest = await trx.selectFrom('operation_fence').select('fence').executeTakeFirst()
  if (newest === undefined) return
  throw new DomainError(
    'staleFence',
    `The fence number ${fence} is older than ${newest.fence}: another control plane has taken over.`,
  )
}

/** What `checkFence` does, for a fence that nobody has: it changes and refuses nothing. */
export const rehearseFence = async (trx: Kysely<Database>): Promise<void> =>
  void (await lock(trx, { fence: -1 }))
