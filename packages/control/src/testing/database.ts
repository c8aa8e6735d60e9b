import { DatabaseSync } from 'node:sqlite'
import { Kysely } from 'kysely'
import { sqliteDialect } from '../db/dialects/sqlite.ts'
import { migrations } from '../db/migrations/index.ts'
import { makeTables } from '../db/open.ts'
import type { Database } from '../db/schema.ts'

let empty: Uint8Array | undefined

/** An empty database in memory. Its tables are made once in a process: that takes longer than most tests do. */
export async function openMemoryDatabase(): Promise<Kysely<Database>> {
  const sqlite = new DatabaseSync(':memory:')
  if (empty !== undefined) sqlite.deserialize(empty)
  const db = new Kysely<Database>({ dialect: sqliteDialect(sqlite) })
  if (empty === undefined) {
    await makeTables(db, migrations)
    empty = sqlite.serialize()
  }
  return db
}
