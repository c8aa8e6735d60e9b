import type { Kysely } from 'kysely'
import type { Vacating } from '../../ports/vacating.ts'
import type { Database } from '../schema.ts'

const prefix = 'aggregate/'
/** The text that follows all that begin with it: `0` is the character after `/`. */
const afterPrefix = 'aggregate0'

/** What the engine's own records say: who is emptied holds its key. */
export const vacatingAggregates =
  (db: Kysely<Database>): Vacating =>
  async () => {
    // First the few that are held: of what has ended there may be any number.
    const held = await db
      .selectFrom('operation_holds')
      .select(['key', 'operation_id'])
      .where('key', '>=', prefix)
      .where('key', '<', afterPrefix)
      .execute()
    if (held.length === 0) return new Map()
    const ids = held.map(({ operation_id }) => operation_id)
    const vacates = await db
      .selectFrom('operations')
      .select('id')
      .where('id', 'in', ids)
      .where('kind', '=', 'aggregate.vacate')
      .execute()
    const isVacate = new Set(vacates.map(({ id }) => id))
    const rows = held.filter(({ operation_id }) => isVacate.has(operation_id))
    return new Map(rows.map(({ key, operation_id }) => [key.slice(prefix.length), operation_id]))
  }
