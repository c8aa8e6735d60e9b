import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { asUnavailable } from './sqlite-error.ts'

/**
 * A connection of its own for what is read thousands of times a second. It sees what is committed and nothing else,
 * waits for no transaction of the others, and gives rows as arrays, which takes half the time of objects.
 */
export interface SqliteReader {
  /** The values of each row, in the order of the statement's columns. Throws `unavailable`. */
  rows(sql: string, parameters: readonly unknown[]): unknown[][]
  /** Another number after a commit than before it. */
  version(): number
  close(): void
}

/** Pages kept, in KiB: the upper levels of the indexes, and what is read often. */
const cacheKib = 16_384

/** Opened when it is used first: by then the tables are there. */
export function sqliteReader(path: string): SqliteReader {
  let db: DatabaseSync | undefined
  const statements = new Map<string, StatementSync>()
  const prepare = (sql: string): StatementSync => {
    if (db === undefined) {
      db = new DatabaseSync(path, { readOnly: true, timeout: 1000 })
      db.exec(`pragma cache_size = -${cacheKib}`)
    }
    const statement = db.prepare(sql)
    statement.setReturnArrays(true)
    statements.set(sql, statement)
    return statement
  }
  const rows: SqliteReader['rows'] = (sql, parameters) => {
    try {
      const statement = statements.get(sql) ?? prepare(sql)
      return statement.all(...(parameters as SQLInputValue[])) as unknown as unknown[][]
    } catch (error) {
      throw asUnavailable(error)
    }
  }
  return {
    rows,
    version: () => rows('pragma data_version', [])[0]?.[0] as number,
    close() {
      statements.clear()
      db?.close()
      db = undefined
    },
  }
}
