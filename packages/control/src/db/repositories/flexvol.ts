import type { Kysely, Selectable } from 'kysely'
import { DomainError } from '@volant/contract'
import type { FlexVol } from '../../domain/volume.ts'
import type { FlexVolRecords } from '../../ports/records.ts'
import type { Database } from '../schema.ts'
import type { FlexVolTable } from '../tables/storage.ts'

const toFlexVol = (row: Selectable<FlexVolTable>): FlexVol => ({
  id: row.id,
  cluster: row.cluster,
  name: row.name,
  lif: row.lif,
  junctionPath: row.junction_path,
  node: row.node,
  aggregate: row.aggregate,
})

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
        .selectFrom('volumes')
        .select((eb) => eb.fn.countAll<number>().as('count'))
        .where('flexvol_id', '=', flexvolId)
        .executeTakeFirstOrThrow()
      return Number(row.count)
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
        })
        .execute()
    },
  }
}
