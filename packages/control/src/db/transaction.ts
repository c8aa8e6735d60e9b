import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'

/** All or nothing; inside the caller's transaction, where there is one. */
export const together = (
  db: Kysely<Database>,
  work: (trx: Kysely<Database>) => Promise<void>,
): Promise<void> => (db.isTransaction ? work(db) : db.transaction().execute(work))
