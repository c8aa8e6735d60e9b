import { sql, type Kysely } from 'kysely'
import type { PoolSums } from '../../ports/block-storage.ts'
import type { Database } from '../schema.ts'

/**
 * Retained copies are promised to nobody any more, and those of snapshots never grow: they count by what they occupy
 * alone.
 */
export const poolSums = (db: Kysely<Database>): PoolSums => ({
  async byFlexvol() {
    const rows = await db
      .selectFrom('copy_sums')
      .select([
        'flexvol_id',
        'state',
        'of_snapshot',
        'copies',
        // What is promised may be more than the integers that are exact in JavaScript: 8 PiB.
        sql<number>`cast(size_bytes as real)`.as('size'),
        sql<number>`cast(reserved_bytes as real)`.as('reserved'),
      ])
      .execute()
    const sums = new Map<string, { provisionedBytes: number; reservedBytes: number; copies: number }>()
    for (const row of rows) {
      const sum = sums.get(row.flexvol_id) ?? { provisionedBytes: 0, reservedBytes: 0, copies: 0 }
      if (row.state !== 'retained' && row.of_snapshot === 0) {
        sum.provisionedBytes += row.size
        sum.copies += row.copies
      }
      sum.reservedBytes += row.reserved
      sums.set(row.flexvol_id, sum)
    }
    return sums
  },
})
