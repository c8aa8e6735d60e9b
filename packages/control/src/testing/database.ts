import { mkdtempSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { Kysely } from 'kysely'
import { sqliteDialect } from '../db/dialects/sqlite.ts'
import { migrations } from '../db/migrations/index.ts'
import { makeTables, openDatabase } from '../db/open.ts'
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

/** One as the control plane opens it, until the test has ended; only one in a file has a reader of its own. */
export async function openTestDatabase(t: TestContext, where: 'file' | 'memory'): Promise<Kysely<Database>> {
  const folder = mkdtempSync(join(tmpdir(), 'vdb-'))
  const db = await openDatabase(where === 'file' ? join(folder, 'volant.db') : ':memory:')
  t.after(async () => {
    await db.destroy()
    rmSync(folder, { recursive: true, force: true })
  })
  return db
}
