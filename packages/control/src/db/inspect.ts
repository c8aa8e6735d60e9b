import { closeSync, existsSync, openSync, readSync, rmSync, statSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { DatabaseSync } from 'node:sqlite'
import { DomainError, messageOf } from '@volant/contract'
import type { Unfinished } from '@volant/saga'
import { reasonOf } from './dialects/sqlite-error.ts'

/** `pragma application_id` of a database of Volant: "VLNT". */
export const applicationId = 0x564c4e54

/** What is there at the database's path. */
export type Found = { state: 'new' } | { state: 'ours'; applied: string[]; applicationId: number }

const magic = 'SQLite format 3\0'
/** A check of the pages takes a millisecond for each MiB, one that compares every index entry ten. */
const pagesUpToBytes = 256 * 2 ** 20
const indexesUpToBytes = 32 * 2 ** 20

const remedy =
  'Nothing was changed. The guide docs/guides/state-folder.md says how to find the cause and how to restore a copy.'

const refuse = (path: string, what: string, cause?: unknown): DomainError =>
  new DomainError('conflict', `The database ${path} ${what}. ${remedy}`, { cause })

/**
 * Looks at a database before it is opened for writing, and throws `conflict`, with what is wrong and what to do,
 * where it must not be: damaged, of another program, of a newer release, or lost. It and its write-ahead log are the
 * same bytes afterwards. `known` are the names of this release's migrations; `used`: this state folder has had a
 * database before, so that an empty one is a loss and not a beginning.
 */
export function inspectDatabase(path: string, options: { known: readonly string[]; used: boolean }): Found {
  const log = sizeOf(`${path}-wal`)
  if (sizeOf(path) === 0) {
    const what = existsSync(path) ? 'is empty' : 'is missing'
    if (options.used) throw refuse(path, `${what}, and this state folder has been in use`)
    if (log > 0) throw refuse(path, `${what}, and its write-ahead log ${path}-wal is there`)
    return { state: 'new' }
  }
  checkHeader(path)
  return readOnly(path, log > 0, (db) => {
    const found = identify(db, path, options.known)
    checkPages(db, path, log > 0)
    if (found.state === 'new' && options.used) {
      throw refuse(path, 'has no tables, and this state folder has been in use')
    }
    return found
  })
}

/** The operations that have not ended, of a database that may be an older release's. Nothing is changed. */
export function unfinishedOperations(path: string): Unfinished[] {
  return readOnly(path, sizeOf(`${path}-wal`) > 0, (db) => {
    const tables = "select 1 from sqlite_schema where type = 'table' and name = 'operations'"
    if (db.prepare(tables).get() === undefined) return []
    const rows = db.prepare('select id, kind, version, steps from operations where ended_at is null').all()
    return rows.map((row) => ({
      id: String(row['id']),
      kind: String(row['kind']),
      version: Number(row['version']),
      steps: JSON.parse(String(row['steps'])) as string[],
    }))
  })
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0

function checkHeader(path: string): void {
  const header = Buffer.alloc(100)
  try {
    const file = openSync(path, 'r')
    try {
      readSync(file, header, 0, header.length, 0)
    } finally {
      closeSync(file)
    }
  } catch (error) {
    throw refuse(path, `cannot be read (${messageOf(error)})`, error)
  }
  if (header.toString('latin1', 0, magic.length) !== magic) {
    throw refuse(path, 'is damaged or no database: it does not begin as SQLite files do')
  }
  const identity = header.readUInt32BE(68)
  if (identity !== 0 && identity !== applicationId) throw notOurs(path)
}

const notOurs = (path: string): DomainError => refuse(path, 'is that of another program')

/** Without a write-ahead log nothing but the file is opened, and no file is made beside it. */
function readOnly<T>(path: string, hasLog: boolean, task: (db: DatabaseSync) => T): T {
  const url = pathToFileURL(path)
  if (!hasLog) url.searchParams.set('immutable', '1')
  const index = `${path}-shm`
  const hadIndex = existsSync(index)
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(url, { readOnly: true, timeout: 5000 })
    return task(db)
  } catch (error) {
    if (!hadIndex && hasLog) rmSync(index, { force: true })
    if (error instanceof DomainError) throw error
    throw refuse(path, `cannot be read: ${reasonOf(error) ?? messageOf(error)}`, error)
  } finally {
    db?.close()
  }
}

function identify(db: DatabaseSync, path: string, known: readonly string[]): Found {
  const value = (sql: string) => Object.values(db.prepare(sql).get() ?? {})[0]
  const identity = Number(value('pragma application_id'))
  if (identity !== 0 && identity !== applicationId) {
    throw refuse(path, `does not belong to its write-ahead log ${path}-wal, which is another program's`)
  }
  if (value('select count(*) from sqlite_schema') === 0) return { state: 'new' }
  const applied = migrationsOf(db)
  if (applied === undefined || (applied.length > 0 && !applied.includes(known[0] ?? ''))) {
    if (identity === applicationId) throw refuse(path, 'is damaged: its list of schema versions is lost')
    throw notOurs(path)
  }
  const newer = applied.filter((name) => !known.includes(name))
  if (newer.length > 0) {
    throw refuse(
      path,
      `was written by a newer Volant: it has ${newer.join(', ')}, and this release knows no more than ${known.at(-1)}. Start that release again, or restore the copy that it made before it upgraded (in the folder backup)`,
    )
  }
  return { state: 'ours', applied, applicationId: identity }
}

/** Undefined where there is no such table. */
function migrationsOf(db: DatabaseSync): string[] | undefined {
  const tables = "select 1 from sqlite_schema where type = 'table' and name = 'kysely_migration'"
  if (db.prepare(tables).get() === undefined) return undefined
  return db
    .prepare('select name from kysely_migration order by name')
    .all()
    .map((row) => String(row['name']))
}

/**
 * After an end in order there is no write-ahead log, and the pages are checked. Where there is one, it might be
 * another database's (a copy was put back without it being removed), which can leave every page right and rows
 * missing from their indexes: then these are checked too, unless that would take long.
 */
function checkPages(db: DatabaseSync, path: string, hasLog: boolean): void {
  const size = sizeOf(path) + sizeOf(`${path}-wal`)
  if (size > pagesUpToBytes) return
  const check = hasLog && size <= indexesUpToBytes ? 'integrity_check' : 'quick_check'
  const [first] = db.prepare(`pragma ${check}(3)`).all()
  const said = String(Object.values(first ?? {})[0])
  if (said === 'ok') return
  const log = hasLog ? `, or the write-ahead log ${path}-wal is that of another database` : ''
  throw refuse(path, `is damaged${log} (${said.split('\n').slice(0, 2).join('; ')})`)
}
