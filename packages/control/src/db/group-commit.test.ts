import assert from 'node:assert/strict'
import { DatabaseSync } from 'node:sqlite'
import { test, type TestContext } from 'node:test'
import { Kysely, sql, type Transaction } from 'kysely'
import { sqliteDialect } from './dialects/sqlite.ts'
import { groupCommit } from './group-commit.ts'
import type { Database } from './schema.ts'

type Trx = Transaction<Database>

/** A database with a table of names, and how often it has committed; `failing` makes the next commit fail. */
function open(t: TestContext) {
  const sqlite = new DatabaseSync(':memory:')
  sqlite.exec('create table names (name text primary key)')
  const seen = { commits: 0, failing: false }
  const prepare = sqlite.prepare.bind(sqlite)
  sqlite.prepare = (text) => {
    const statement = prepare(text)
    if (text !== 'commit') return statement
    const run = statement.run.bind(statement)
    statement.run = () => {
      seen.commits += 1
      if (!seen.failing) return run()
      throw new Error('the disk is full')
    }
    return statement
  }
  const db = new Kysely<Database>({ dialect: sqliteDialect(sqlite) })
  t.after(() => db.destroy())
  const names = async () =>
    (await sql<{ name: string }>`select name from names order by name`.execute(db)).rows.map(
      ({ name }) => name,
    )
  const add = (name: string) => async (trx: Trx) => {
    await sql`insert into names values (${name})`.execute(trx)
    return name
  }
  return { seen, names, add, together: groupCommit(db) }
}

test('what comes at once is written by one commit, and what fails of it fails alone', async (t) => {
  const { seen, names, add, together } = open(t)
  const fails = async (trx: Trx): Promise<string> => {
    await add('half')(trx)
    throw new Error('it is refused')
  }
  const outcomes = await Promise.allSettled([together(add('a')), together(fails), together(add('b'))])
  assert.deepEqual(
    outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : outcome.reason.message)),
    ['a', 'it is refused', 'b'],
  )
  assert.deepEqual(await names(), ['a', 'b'])
  assert.equal(seen.commits, 1)
  await assert.rejects(together(fails), /it is refused/)
  assert.deepEqual(await names(), ['a', 'b'])
})

test('nobody is told that it is written before it is, and where it is not all are told so', async (t) => {
  const { seen, names, add, together } = open(t)
  seen.failing = true
  const outcomes = await Promise.allSettled([together(add('a')), together(add('b'))])
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  assert.deepEqual(await names(), [])
  seen.failing = false
  assert.equal(await together(add('a')), 'a')
  assert.deepEqual(await names(), ['a'])
})

test('an error by which SQLite takes the whole transaction back is an error of all that were in it', async (t) => {
  const { names, add, together } = open(t)
  await together(add('taken'))
  const outcomes = await Promise.allSettled([
    together(add('a')),
    together((trx) => sql`insert or rollback into names values ('taken')`.execute(trx)),
    together(add('b')),
  ])
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['rejected', 'rejected', 'rejected'],
  )
  assert.deepEqual(await names(), ['taken'])
})
