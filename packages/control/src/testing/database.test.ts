import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { sql, type Kysely } from 'kysely'
import type { Database } from '../db/schema.ts'
import { openMemoryDatabase } from './database.ts'

const opened: Kysely<Database>[] = []
after(() => Promise.all(opened.map((db) => db.destroy())))

/** It is opened when it is used first. */
async function openUsed(): Promise<Kysely<Database>> {
  const db = await openMemoryDatabase()
  opened.push(db)
  await sql`select 1`.execute(db)
  return db
}

async function tablesOf(db: Kysely<Database>): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`select name from sqlite_master where type = 'table'`.execute(
    db,
  )
  return rows.map(({ name }) => name)
}

async function contentOf(db: Kysely<Database>): Promise<Record<string, unknown[]>> {
  const content: Record<string, unknown[]> = {}
  for (const name of await tablesOf(db)) {
    content[name] = (await sql`select * from ${sql.table(name)}`.execute(db)).rows
  }
  return content
}

/** A row in each table, whatever it says. */
async function fill(db: Kysely<Database>): Promise<void> {
  await sql`pragma foreign_keys = off`.execute(db)
  for (const name of await tablesOf(db)) {
    if (name.startsWith('kysely_') || name === 'sqlite_sequence') continue
    const { rows } = await sql<{ name: string; type: string }>`
      select name, type from pragma_table_info(${name})`.execute(db)
    const columns = sql.join(rows.map((column) => sql.ref(column.name)))
    const values = sql.join(rows.map(({ type }) => (type.toLowerCase() === 'integer' ? 7 : '{}')))
    await sql`insert or replace into ${sql.table(name)} (${columns}) values (${values})`.execute(db)
  }
  await sql`update flavors set vcpus = 7`.execute(db)
  await sql`pragma foreign_keys = on`.execute(db)
}

test('a closed database is the next one that is opened: as a new one, whatever was in its tables', async () => {
  const [used, fresh] = [await openUsed(), await openUsed()]
  const before = await contentOf(fresh)
  await fill(used)
  for (const [name, rows] of Object.entries(await contentOf(used))) {
    if (!name.startsWith('kysely_')) assert.notDeepEqual(rows, before[name], name)
  }
  await used.destroy()
  const again = await openUsed()
  assert.deepEqual(await contentOf(again), before)
})

test('who still has a closed database is refused, and does not write into the next one', async () => {
  const used = await openUsed()
  let next = used
  await used.connection().execute(async (connection) => {
    await used.destroy()
    next = await openUsed()
    await assert.rejects(sql`delete from flavors`.execute(connection), /not open/)
  })
  assert.notEqual((await sql`select * from flavors`.execute(next)).rows.length, 0)
})

test('a database with another schema, or in the middle of a transaction, is not used again', async () => {
  const before = await contentOf(await openUsed())
  const changed = await openUsed()
  await sql`create table another (id text)`.execute(changed)
  await changed.destroy()
  const amid = await openUsed()
  await sql`begin`.execute(amid)
  await sql`delete from flavors`.execute(amid)
  await amid.destroy()
  assert.deepEqual(await contentOf(await openUsed()), before)
  assert.deepEqual(await contentOf(await openUsed()), before)
})
