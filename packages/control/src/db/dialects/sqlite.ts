import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { SqliteAdapter, SqliteDialect, type SqliteDatabase, type SqliteStatement } from 'kysely'
import { asUnavailable } from './sqlite-error.ts'

/**
 * Kysely over Node's own SQLite: WAL with full durability, so that a row that was reported written is there
 * after a power loss.
 *
 * Kysely opens its transactions with a plain `begin`, which takes the write lock at the first write and then
 * fails where another process holds it; here each transaction takes it at once (`begin immediate`) and waits.
 * @param database its path, or one that is open.
 * @param onClose called just before it is closed.
 */
export function sqliteDialect(
  database: string | DatabaseSync,
  onClose: () => void = () => {},
): SqliteDialect {
  return sqliteDialectOver(() => openSqlite(database, onClose))
}

/** @param open called when the database is used first; what it returns is made by `openSqlite`. */
export function sqliteDialectOver(open: () => SqliteDatabase): SqliteDialect {
  return new TransactionalDialect({ database: () => Promise.resolve(open()) })
}

/**
 * SQLite can change tables in transactions, and Kysely's migrations use that where the adapter says so: a first
 * start that is killed leaves no half of a schema, which the next one could not go on from. It also makes one
 * durable write of more than a hundred.
 */
class TransactionalAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true
  }
}

class TransactionalDialect extends SqliteDialect {
  override createAdapter(): SqliteAdapter {
    return new TransactionalAdapter()
  }
}

/**
 * How long another process may hold the database's lock before that is an error. The whole process stands still
 * meanwhile, so it is short: who may not fail (operations) tries again, a request is answered 503. Milliseconds.
 */
const lockedForMs = 1000

export function openSqlite(database: string | DatabaseSync, onClose: () => void = () => {}): SqliteDatabase {
  const db =
    typeof database === 'string' ? told(() => new DatabaseSync(database, { timeout: lockedForMs })) : database
  told(() => db.exec('pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on;'))
  const statements = new Map<string, SqliteStatement>()
  return {
    prepare(sql) {
      // After some errors, such as a full disk, SQLite has rolled back by itself; to be told so would hide the error.
      if (sql === 'rollback' && !db.isTransaction) return nothing
      const text = sql === 'begin' ? 'begin immediate' : sql
      let statement = statements.get(text)
      if (statement === undefined) {
        statement = adapt(told(() => db.prepare(text)))
        // Bounded: a page of ids makes statements of many lengths.
        if (statements.size >= 500) statements.clear()
        statements.set(text, statement)
      }
      return statement
    },
    close() {
      statements.clear()
      // First whoever only reads: the last one to close writes the log into the database.
      onClose()
      db.close()
    },
  }
}

const adapt = (statement: StatementSync): SqliteStatement => ({
  reader: statement.columns().length > 0,
  all: (parameters) => told(() => statement.all(...(parameters as SQLInputValue[]))),
  run: (parameters) => told(() => statement.run(...(parameters as SQLInputValue[]))),
  iterate: (parameters) => told(() => statement.iterate(...(parameters as SQLInputValue[]))),
})

const nothing: SqliteStatement = {
  reader: false,
  all: () => [],
  run: () => ({ changes: 0, lastInsertRowid: 0 }),
  iterate: () => [][Symbol.iterator](),
}

/** A full disk, a lock and the like are told as `unavailable`: an answer 503, and a step that is tried again. */
function told<T>(task: () => T): T {
  try {
    return task()
  } catch (error) {
    throw asUnavailable(error)
  }
}
