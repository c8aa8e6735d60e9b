import { Kysely } from 'kysely'
import { Migrator, type Migration, type MigrationProvider } from 'kysely/migration'
import { DomainError, messageOf } from '@volant/contract'
import type { Database } from './schema.ts'
import { sqliteDialect } from './dialects/sqlite.ts'
import { migrations } from './migrations/index.ts'

class StaticMigrations implements MigrationProvider {
  getMigrations(): Promise<Record<string, Migration>> {
    return Promise.resolve(migrations)
  }
}

/** Opens the database and brings its tables up to date. A database of a newer release is refused untouched. */
export async function openDatabase(path: string): Promise<Kysely<Database>> {
  const db = new Kysely<Database>({ dialect: sqliteDialect(path) })
  const { error } = await new Migrator({ db, provider: new StaticMigrations() }).migrateToLatest()
  if (error !== undefined) {
    await db.destroy()
    throw new DomainError('unavailable', `The database ${path} cannot be used: ${messageOf(error)}`, {
      cause: error,
    })
  }
  return db
}
