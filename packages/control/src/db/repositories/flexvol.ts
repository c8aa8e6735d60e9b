import type { ExpressionBuilder, Kysely, Selectable } from 'kysely'
import { DomainError } from '@volant/contract'
import type { FlexVol } from '../../domain/volume.ts'
import type { FlexVolRecords } from '../../ports/records.ts'
import { defined } from '../columns.ts'
import type { Database } from '../schema.ts'
import type { FlexVolTable } from '../tables/storage.ts'

export const toFlexVol = (row: Selectable<FlexVolTable>): FlexVol => ({
  id: row.id,
  cluster: row.cluster,
  name: row.name,
  lif: row.lif,
  junctionPath: row.junction_path,
  node: row.node,
  aggregate: row.aggregate,
  sizeBytes: row.size_bytes === null ? null : Number(row.size_bytes),
  destination:
    row.destination_node === null || row.destination_aggregate === null
      ? null
      : { node: row.destination_node, aggregate: row.destination_aggregate },
  moveReservedBytes: Number(row.move_reserved_bytes),
  shareId: row.share_id,
  createdAt: row.created_at,
})

/** Nothing lives in it, and nothing is kept in it. */
const isEmpty = (eb: ExpressionBuilder<Database, 'flexvols'>, flexvolId: string) =>
  eb.and(
    (['copies', 'volumes', 'snapshots'] as const).map((table) =>
      eb.not(eb.exists(eb.selectFrom(table).select('flexvol_id').where('flexvol_id', '=', flexvolId))),
    ),
  )

export function flexVolRecords(db: Kysely<Database>): FlexVolRecords {
  const find = async (id: string): Promise<FlexVol | undefined> => {
    const row = await db.selectFrom('flexvols').selectAll().where('id', '=', id).executeTakeFirst()
    return row && toFlexVol(row)
  }
  return {
    find,
    async list() {
      const rows = await db.selectFrom('flexvols').selectAll().orderBy('created_at').orderBy('id').execute()
      return rows.map(toFlexVol)
    },
    async get(id) {
      const flexvol = await find(id)
      if (flexvol === undefined) throw new DomainError('notFound', `FlexVol ${id} could not be found.`)
      return flexvol
    },
    async byPool(cluster, pool) {
      const separator = pool.indexOf(':/')
      if (separator < 0) return undefined
      const row = await db
        .selectFrom('flexvols')
        .selectAll()
        .where('cluster', '=', cluster)
        .where('lif', '=', pool.slice(0, separator))
        .where('junction_path', '=', pool.slice(separator + 1))
        .executeTakeFirst()
      return row && toFlexVol(row)
    },
    async countVolumes(flexvolId) {
      const row = await db
        .selectFrom('flexvol_sums')
        .select((eb) => eb.fn.sum<number | null>('volumes').as('count'))
        .where('flexvol_id', '=', flexvolId)
        .executeTakeFirstOrThrow()
      return Number(row.count ?? 0)
    },
    async create(flexvol) {
      await db
        .insertInto('flexvols')
        .values({
          id: flexvol.id,
          cluster: flexvol.cluster,
          name: flexvol.name,
          lif: flexvol.lif,
          junction_path: flexvol.junctionPath,
          node: flexvol.node,
          aggregate: flexvol.aggregate,
          created_at: flexvol.createdAt,
          size_bytes: flexvol.sizeBytes,
          destination_node: flexvol.destination?.node ?? null,
          destination_aggregate: flexvol.destination?.aggregate ?? null,
          move_reserved_bytes: flexvol.moveReservedBytes,
          share_id: flexvol.shareId,
        })
        .execute()
    },
    async update(flexvolId, { sizeBytes, destination, moveReservedBytes }) {
      const set = defined({
        size_bytes: sizeBytes,
        move_reserved_bytes: moveReservedBytes,
        ...(destination !== undefined && {
          destination_node: destination?.node ?? null,
          destination_aggregate: destination?.aggregate ?? null,
        }),
      })
      if (Object.keys(set).length === 0) return
      await db.updateTable('flexvols').set(set).where('id', '=', flexvolId).execute()
    },
    async removeEmpty(flexvolId) {
      const removed = await db
        .deleteFrom('flexvols')
        .where('id', '=', flexvolId)
        .where((eb) => isEmpty(eb, flexvolId))
        .executeTakeFirst()
      return removed.numDeletedRows > 0n || (await find(flexvolId)) === undefined
    },
    async renameEmpty(flexvolId, { name, junctionPath }) {
      const renamed = await db
        .updateTable('flexvols')
        .set({ name, junction_path: junctionPath })
        .where('id', '=', flexvolId)
        .where((eb) => isEmpty(eb, flexvolId))
        .executeTakeFirst()
      return renamed.numUpdatedRows > 0n
    },
    async arrive(flexvolId, at) {
      const arrived = await db
        .updateTable('flexvols')
        .set({
          node: at.node,
          aggregate: at.aggregate,
          destination_node: null,
          destination_aggregate: null,
          move_reserved_bytes: 0,
        })
        .where('id', '=', flexvolId)
        .where(({ not, exists, selectFrom }) =>
          not(
            exists(
              selectFrom('copies')
                .select('image_id')
                .where('flexvol_id', '=', flexvolId)
                .where('state', 'in', ['live', 'target'])
                .where((eb) => eb.or([eb('node', '!=', at.node), eb('aggregate', '!=', at.aggregate)])),
            ),
          ),
        )
        .executeTakeFirst()
      return arrived.numUpdatedRows > 0n
    },
  }
}
