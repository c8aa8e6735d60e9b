import { Kysely, sql } from 'kysely'
import { Migrator, type Migration, type MigrationProvider } from 'kysely/migration'
import { DomainError, messageOf } from '@volant/contract'
import type { Unfinished } from '@volant/saga'
import { backUpDatabase } from './backup.ts'
import { applicationId, inspectDatabase, unfinishedOperations } from './inspect.ts'
import type { Database } from './schema.ts'
import { sqliteDialect } from './dialects/sqlite.ts'
import { sqliteReader } from './dialects/sqlite-reader.ts'
import { migrations } from './migrations/index.ts'
import { useReader } from './prepared.ts'

export interface OpenOptions {
  /** This state folder has had a database before: an empty or missing one is refused. Default: false. */
  used?: boolean
  /** Told where the copy lies that was made before an upgrade. */
  onBackup?: (copy: string, before: string) => void
  /** Called before anything is changed, with the operations that have not ended; throws to refuse the database. */
  judge?: (unfinished: Unfinished[]) => void
  /** For tests. */
  migrations?: Record<string, Migration>
}

/**
 * Opens the database and brings its tables up to date. One that is damaged, lost, of another program or of a newer
 * release is refused (`conflict`) and stays as it is, byte for byte. Before an upgrade it is copied to `backup/`.
 */
export async function openDatabase(path: string, options: OpenOptions = {}): Promise<Kysely<Database>> {
  const provided = options.migrations ?? migrations
  const backup = path === ':memory:' ? undefined : prepare(path, provided, options)
  const reader = path === ':memory:' ? undefined : sqliteReader(path)
  const db = new Kysely<Database>({ dialect: sqliteDialect(path, () => reader?.close()) })
  try {
    await makeTables(db, provided)
    if (reader !== undefined) useReader(db, reader)
  } catch (error) {
    await db.destroy()
    const copy = backup === undefined ? '' : ` A copy from before the upgrade is ${backup}.`
    throw new DomainError('unavailable', `The database ${path} cannot be used: ${messageOf(error)}${copy}`, {
      cause: error,
    })
  }
  return db
}

/** Those that are missing, or of an older release. */
export async function makeTables(db: Kysely<Database>, provided: Record<string, Migration>): Promise<void> {
  const provider: MigrationProvider = { getMigrations: () => Promise.resolve(provided) }
  const { error } = await new Migrator({ db, provider }).migrateToLatest()
  if (error !== undefined) throw error
  await markOurs(db)
}

/** Returns the path of the copy, where an upgrade is due. */
function prepare(
  path: string,
  provided: Record<string, Migration>,
  { used = false, onBackup, judge }: OpenOptions,
): string | undefined {
  const known = Object.keys(provided)
  const found = inspectDatabase(path, { known, used })
  if (found.state === 'new') return undefined
  // Before an upgrade: the older release, which can end them, would not open the upgraded database.
  judge?.(unfinishedOperations(path))
  const due = known.find((name) => !found.applied.includes(name))
  if (due === undefined || found.applied.length === 0) return undefined
  const copy = backUpDatabase(path, due, new Date())
  onBackup?.(copy, due)
  return copy
}

async function markOurs(db: Kysely<Database>): Promise<void> {
  const { rows } = await sql<{ application_id: number }>`pragma application_id`.execute(db)
  if (rows[0]?.application_id === applicationId) return
  await sql`pragma application_id = ${sql.lit(applicationId)}`.execute(db)
}
