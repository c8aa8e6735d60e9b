import type { Kysely } from 'kysely'
import { DomainError } from '@volant/contract'
import type { Database } from '../schema.ts'

/** The largest number that an NFS server's exports can have. */
const largestExportId = 65_535

/** The lowest that no share and no snapshot of the cluster has: numbers of those that are gone come again. */
export async function freeExportId(db: Kysely<Database>, cluster: string): Promise<number> {
  const ofShares = await db
    .selectFrom('shares')
    .select('export_id')
    .where('cluster', '=', cluster)
    .where('export_id', 'is not', null)
    .execute()
  const ofSnapshots = await db
    .selectFrom('shown_snapshots')
    .select('export_id')
    .where('cluster', '=', cluster)
    .execute()
  const taken = new Set([...ofShares, ...ofSnapshots].map(({ export_id }) => export_id))
  let free = 1
  while (taken.has(free)) free += 1
  if (free <= largestExportId) return free
  throw new DomainError(
    'noCapacity',
    `Cluster ${cluster} exports ${largestExportId} shares and snapshots, which is all it can.`,
  )
}
