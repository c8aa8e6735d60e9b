import { mkdtempSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { Kysely, type SqliteDatabase } from 'kysely'
import { openSqlite, sqliteDialect, sqliteDialectOver } from '../db/dialects/sqlite.ts'
import { migrations } from '../db/migrations/index.ts'
import { makeTables, openDatabase } from '../db/open.ts'
import type { Database } from '../db/schema.ts'

/** An open database in memory, with what it has prepared. */
interface Opened {
  sqlite: DatabaseSync
  database: SqliteDatabase
  /** Makes it as a new one is. False: it cannot be. */
  clear(): boolean
}

/** A new database with its tables. They are made once in a process: that takes longer than most tests do. */
let empty: Uint8Array | undefined
/** Those that are not used. To open one, read its schema and prepare each statement anew costs more than its test. */
const unused: Opened[] = []

/** An empty database in memory. */
export async function openMemoryDatabase(): Promise<Kysely<Database>> {
  if (empty === undefined) {
    const sqlite = new DatabaseSync(':memory:')
    await makeTables(new Kysely<Database>({ dialect: sqliteDialect(sqlite) }), migrations)
    empty = sqlite.serialize()
    sqlite.close()
  }
  const tables = empty
  return new Kysely<Database>({ dialect: sqliteDialectOver(() => lend(unused.pop() ?? openNew(tables))) })
}

function openNew(tables: Uint8Array): Opened {
  const sqlite = new DatabaseSync(':memory:')
  sqlite.deserialize(tables)
  const database = openSqlite(sqlite)
  return { sqlite, database, clear: clearing(sqlite) }
}

/** Until it is closed: then it is cleared for another, and whoever still has it is refused, as by a closed one. */
function lend(opened: Opened): SqliteDatabase {
  let closed = false
  return {
    prepare(text) {
      if (closed) throw new Error('database is not open')
      return opened.database.prepare(text)
    },
    close() {
      closed = true
      if (opened.clear()) unused.push(opened)
      else opened.database.close()
    },
  }
}

/** What deletes all rows that a new database has not, and puts back those that it has. */
function clearing(sqlite: DatabaseSync): () => boolean {
  const schemaVersion = sqlite.prepare('pragma schema_version')
  const made = schemaVersion.get()
  const names = sqlite
    .prepare("select name from sqlite_master where type = 'table' and name not like 'kysely_%'")
    .all()
    .map(({ name }) => name as string)
  // The last one first: it may refer to those before it, or be kept by their triggers.
  const deletes = names.toReversed().map((name) => sqlite.prepare(`delete from ${name}`))
  const inserts = names.flatMap((name) => {
    const rows = sqlite.prepare(`select * from ${name}`).all()
    const places = Object.keys(rows[0] ?? {}).map(() => '?')
    const insert = rows.length === 0 ? undefined : `insert into ${name} values (${places.join()})`
    return rows.map((row) => ({ insert: sqlite.prepare(insert as string), values: Object.values(row) }))
  })
  return () => {
    // A test that ended in the middle of a transaction, or changed a table, has spoiled it.
    if (sqlite.isTransaction || schemaVersion.get()?.['schema_version'] !== made?.['schema_version'])
      return false
    sqlite.exec('begin')
    for (const each of deletes) each.run()
    for (const { insert, values } of inserts) insert.run(...values)
    sqlite.exec('commit')
    return true
  }
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
