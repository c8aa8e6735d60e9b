import { sql, type Kysely } from 'kysely'
import { placeKey } from '../../domain/aggregate-space.ts'
import type { AggregateContents } from '../../ports/aggregate-contents.ts'
import type { Database } from '../schema.ts'

export function aggregateContents(db: Kysely<Database>): AggregateContents {
  const reserved = async (): Promise<Map<string, number>> => {
    const copies = await db
      .selectFrom('copies')
      .select((eb) => ['node', 'aggregate', eb.fn.sum<number>('reserved_bytes').as('bytes')])
      // In the words of the index's own condition: a parameter would not do.
      .where(sql<boolean>`reserved_bytes > 0`)
      .groupBy(['node', 'aggregate'])
      .execute()
    const moves = await db
      .selectFrom('flexvols')
      .select((eb) => [
        'destination_node as node',
        'destination_aggregate as aggregate',
        eb.fn.sum<number>('move_reserved_bytes').as('bytes'),
      ])
      .where('destination_node', 'is not', null)
      .groupBy(['destination_node', 'destination_aggregate'])
      .execute()
    const sums = new Map<string, number>()
    for (const { node, aggregate, bytes } of [...copies, ...moves]) {
      const key = placeKey({ node: node ?? '', aggregate: aggregate ?? '' })
      sums.set(key, (sums.get(key) ?? 0) + Number(bytes))
    }
    return sums
  }
  return {
    reserved,
    reservedAt: async (place) => (await reserved()).get(placeKey(place)) ?? 0,
    async images() {
      const rows = await db
        .selectFrom('copy_sums')
        .select((eb) => ['node', 'aggregate', 'flexvol_id', 'state', eb.fn.sum<number>('copies').as('count')])
        .groupBy(['node', 'aggregate', 'flexvol_id', 'state'])
        .execute()
      const retained = await db
        .selectFrom('copies')
        .select((eb) => ['node', 'aggregate', 'flexvol_id', eb.fn.max('retained_until').as('until')])
        .where(sql<boolean>`state = 'retained'`)
        .groupBy(['node', 'aggregate', 'flexvol_id'])
        .execute()
      const keyOf = (row: { node: string; aggregate: string; flexvol_id: string }): string =>
        `${placeKey(row)}/${row.flexvol_id}`
      const until = new Map(retained.map((row) => [keyOf(row), row.until]))
      const found = new Map<string, Awaited<ReturnType<AggregateContents['images']>>[number]>()
      for (const row of rows) {
        const { node, aggregate, flexvol_id: flexvolId, state, count } = row
        const key = keyOf(row)
        const none = { node, aggregate, flexvolId, images: 0, retained: 0, retainedUntil: null }
        const there = found.get(key) ?? none
        found.set(
          key,
          state === 'retained'
            ? { ...there, retained: Number(count), retainedUntil: until.get(key) ?? null }
            : { ...there, images: there.images + Number(count) },
        )
      }
      return [...found.values()]
    },
  }
}
