import type { Kysely } from 'kysely'
import type { Vacating } from '../../ports/vacating.ts'
import type { Database } from '../schema.ts'

const prefix = 'aggregate/'

/** What the engine's own records say: who is emptied holds its key. */
export const vacatingAggregates =
  (db: Kysely<Database>): Vacating =>
  async () => {
    const rows = await db
      .selectFrom('operation_holds')
      .innerJoin('operations', 'operations.id', 'operation_holds.operation_id')
      .select(['operation_holds.key as key', 'operations.id as id'])
      .where('operations.kind', '=', 'aggregate.vacate')
      .where('operation_holds.key', 'like', `${prefix}%`)
      .execute()
    return new Map(rows.map(({ key, id }) => [key.slice(prefix.length), id]))
  }
