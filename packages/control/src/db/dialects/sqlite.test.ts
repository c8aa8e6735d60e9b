import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Kysely, sql } from 'kysely'
import { Migrator, type Migration } from 'kysely/migration'
import { sqliteDialect } from './sqlite.ts'

const creating = (table: string, then: () => void = () => {}): Migration => ({
  async up(db) {
    await db.schema.createTable(table).addColumn('id', 'text').execute()
    then()
  },
})

test('a migration that ends half-way leaves nothing behind, and the next one goes through', async (t) => {
  const db = new Kysely<unknown>({ dialect: sqliteDialect(':memory:') })
  t.after(() => db.destroy())
  const migrate = (migrations: Record<string, Migration>) =>
    new Migrator({ db, provider: { getMigrations: () => Promise.resolve(migrations) } }).migrateToLatest()
  const fails = (): never => {
    throw new Error('struck down')
  }

  const first = await migrate({ '1': creating('one'), '2': creating('two', fails) })
  assert.match(String(first.error), /struck down/)
  const tables = await sql<{
    name: string
  }>`select name from sqlite_master where name in ('one', 'two')`.execute(db)
  assert.deepEqual(tables.rows, [])

  const second = await migrate({ '1': creating('one'), '2': creating('two') })
  assert.equal(second.error, undefined)
})
