import type { Kysely } from 'kysely'
import type { PoolSums } from '../../ports/block-storage.ts'
import type { Database } from '../schema.ts'

/**
 * Retained copies are promised to nobody any more, and those of snapshots never grow: they count by what they occupy
 * alone.
 */
export const poolSums = (db: Kysely<Database>): PoolSums => ({
  async byFlexvol() {
    const rows = await db
      .selectFrom('copies')
      .select((eb) => [
        'flexvol_id',
        'state',
        eb.fn.sum<number>('size_bytes').as('size'),
        eb.fn.sum<number>('reserved_bytes').as('reserved'),
        eb.fn.countAll<number>().as('copies'),
        eb('snapshot_id', 'is not', null).as('of_snapshot'),
      ])
      .groupBy(['flexvol_id', 'state', 'of_snapshot'])
      .execute()
    const sums = new Map<string, { provisionedBytes: number; reservedBytes: number; copies: number }>()
    for (const row of rows) {
      const sum = sums.get(row.flexvol_id) ?? { provisionedBytes: 0, reservedBytes: 0, copies: 0 }
      if (row.state !== 'retained' && !row.of_snapshot) {
        sum.provisionedBytes += Number(row.size)
        sum.copies += Number(row.copies)
      }
      sum.reservedBytes += Number(row.reserved)
      sums.set(row.flexvol_id, sum)
    }
    return sums
  },
})
