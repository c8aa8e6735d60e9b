import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { sql } from 'kysely'
import { applicationId } from './inspect.ts'
import { migrations } from './migrations/index.ts'
import { openDatabase, type OpenOptions } from './open.ts'

let folder = ''
let path = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vdb-'))
  path = join(folder, 'volant.db')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const digest = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex')
const contents = (): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .toSorted()
    .map((name) => (name === 'backup' ? name : `${name} ${digest(join(folder, name))}`))

/** A database with some hundred pages, closed in order: it is one file. */
async function makeDatabase(options: OpenOptions & { value?: string } = {}): Promise<void> {
  const db = await openDatabase(path, options)
  const value = options.value ?? 'x'
  await sql`create table if not exists filling (id integer primary key, text text)`.execute(db)
  await sql`create index if not exists filling_text on filling (text)`.execute(db)
  await db.transaction().execute(async (trx) => {
    for (let i = 0; i < 200; i++)
      await sql`insert into filling (text) values (${`${value}${i}`.padEnd(500, value)})`.execute(trx)
  })
  await db.destroy()
}

/** Copies database and log of a process that was killed: the log has not been taken into the database. */
function crashAfter(change: (db: DatabaseSync) => void): { restore(): void } {
  const aside = mkdtempSync(join(tmpdir(), 'vdb-'))
  const db = new DatabaseSync(path)
  change(db)
  for (const end of ['', '-wal']) copyFileSync(`${path}${end}`, join(aside, `db${end}`))
  db.close()
  return {
    restore() {
      for (const end of ['', '-wal']) copyFileSync(join(aside, `db${end}`), `${path}${end}`)
      rmSync(`${path}-shm`, { force: true })
      rmSync(aside, { recursive: true })
    },
  }
}

async function refused(message: RegExp, options: OpenOptions = {}): Promise<void> {
  const before = contents()
  await assert.rejects(openDatabase(path, options), (error: Error & { code?: string }) => {
    assert.match(error.message, message)
    assert.match(error.message, /Nothing was changed/)
    assert.equal(error.code, 'conflict')
    return true
  })
  assert.deepEqual(contents(), before, 'every byte as it was')
}

describe('a database that must not be used is refused, and stays as it is', () => {
  it('whose beginning is garbage', async () => {
    await makeDatabase()
    const bytes = readFileSync(path)
    writeFileSync(path, Buffer.concat([Buffer.alloc(100, 7), bytes.subarray(100)]))
    await refused(/does not begin as SQLite files do/)
  })

  it('that was cut off', async () => {
    await makeDatabase()
    const { length } = readFileSync(path)
    truncateSync(path, length - 4096 * 10)
    await refused(/is damaged/)
    truncateSync(path, 50)
    await refused(/does not begin as|is damaged/)
  })

  it('that is empty or gone, though there was one', async () => {
    await refused(/is missing, and this state folder has been in use/, { used: true })
    writeFileSync(path, '')
    await refused(/is empty, and this state folder has been in use/, { used: true })
    await (await openDatabase(path)).destroy()
    assert.ok(readFileSync(path).length > 0, 'and is made where there was none')
  })

  it('that is gone, while its log is there', async () => {
    await makeDatabase()
    crashAfter((db) => db.exec("insert into filling (text) values ('y')")).restore()
    rmSync(path)
    await refused(/is missing, and its write-ahead log .* is there/)
  })

  it('with a page of garbage', async () => {
    await makeDatabase()
    const bytes = readFileSync(path)
    bytes.fill(0xa5, 4096 * 40, 4096 * 41)
    writeFileSync(path, bytes)
    await refused(/is damaged/)
  })

  it('with the log of another database', async () => {
    await makeDatabase({ value: 'a' })
    const other = crashAfter((db) => {
      db.exec('begin')
      for (let i = 0; i < 300; i++) db.prepare('insert into filling (text) values (?)').run('b'.repeat(900))
      db.exec('commit')
    })
    rmSync(path)
    await makeDatabase({ value: 'c' })
    const own = readFileSync(path)
    other.restore()
    writeFileSync(path, own)
    await refused(/or the write-ahead log .* is that of another database/)
  })

  it('that was put back from a copy, beside the log of its own later life', async () => {
    await makeDatabase()
    const old = readFileSync(path)
    const db = new DatabaseSync(path)
    db.exec('begin')
    for (let i = 0; i < 300; i++)
      db.prepare('insert into filling (text) values (?)').run(`later ${i}`.padEnd(700, '-'))
    db.exec('commit')
    db.exec('pragma wal_checkpoint(truncate)')
    const crashed = crashAfter((later) => later.exec("update filling set text = 'z' || id where id % 5 = 0"))
    db.close()
    crashed.restore()
    writeFileSync(path, old)
    await refused(/is damaged/)
  })

  it('that a newer release wrote', async () => {
    const more = { ...migrations, '9999-later': { up: () => Promise.resolve() } }
    await makeDatabase({ migrations: more })
    await refused(/written by a newer Volant: it has 9999-later, and this release knows no more than/)
  })

  it('that is of another program', async () => {
    const db = new DatabaseSync(path)
    db.exec('create table notes (text text)')
    db.close()
    await refused(/is that of another program/)
    const marked = new DatabaseSync(path)
    marked.exec('pragma application_id = 77')
    marked.close()
    await refused(/is that of another program/)
  })
})

describe('a database of ours', () => {
  it('is marked as such, and opened again, also after a crash that left its log', async () => {
    await makeDatabase()
    assert.equal(readFileSync(path).readUInt32BE(68), applicationId)
    crashAfter((db) => db.exec("insert into filling (text) values ('the last write')")).restore()
    const db = await openDatabase(path, { used: true })
    const { rows } = await sql`select 1 from filling where text = 'the last write'`.execute(db)
    await db.destroy()
    assert.equal(rows.length, 1)
    assert.ok(!existsSync(join(folder, 'backup')), 'nothing was due')
  })

  it('is copied before an upgrade, with what its log holds; the copy can be put back', async () => {
    await makeDatabase()
    crashAfter((db) => db.exec("insert into filling (text) values ('the last write')")).restore()
    const up = async (db: { schema: { dropTable(name: string): { execute(): Promise<void> } } }) =>
      db.schema.dropTable('filling').execute()
    const copies: string[] = []
    const options = {
      migrations: { ...migrations, '9999-drop': { up } },
      onBackup: (copy: string) => void copies.push(copy),
    }
    await (await openDatabase(path, options)).destroy()
    const [copy = ''] = copies
    assert.match(copy, /\/backup\/volant-before-9999-drop-\d{8}T\d{6}Z\.db$/)
    assert.deepEqual(readdirSync(join(folder, 'backup')).length, 1)
    await (await openDatabase(path, options)).destroy()
    assert.equal(copies.length, 1, 'only before an upgrade')
    await refused(/newer Volant/)
    copyFileSync(copy, path)
    const db = await openDatabase(path)
    const { rows } = await sql`select 1 from filling where text = 'the last write'`.execute(db)
    await db.destroy()
    assert.equal(rows.length, 1)
  })

  it('whose upgrade fails is as it was before, and the copy is named', async () => {
    await makeDatabase()
    const before = digest(path)
    const up = () => Promise.reject(new Error('struck down'))
    await assert.rejects(
      openDatabase(path, { migrations: { ...migrations, '9999-bad': { up } } }),
      /struck down A copy from before the upgrade is .*volant-before-9999-bad/,
    )
    assert.equal(digest(path), before)
    await (await openDatabase(path)).destroy()
  })

  it('is not upgraded where it cannot be copied', async () => {
    await makeDatabase()
    writeFileSync(join(folder, 'backup'), '')
    const before = contents().filter((line) => !line.startsWith('backup'))
    const up = () => Promise.resolve()
    await assert.rejects(
      openDatabase(path, { migrations: { ...migrations, '9999-later': { up } } }),
      /could not be copied .* Nothing was changed/,
    )
    assert.deepEqual(
      contents().filter((line) => !line.startsWith('backup')),
      before,
    )
  })
})

describe('a database that fails while it is used', () => {
  it('says so as unavailable, with the reason, and goes on when it can', async () => {
    const db = await openDatabase(path)
    await sql`create table t (x text)`.execute(db)
    const { rows } = await sql<{ page_count: number }>`pragma page_count`.execute(db)
    await sql`pragma max_page_count = ${sql.lit(rows[0]?.page_count ?? 0)}`.execute(db)
    const big = 'x'.repeat(100_000)
    const full = { code: 'unavailable', message: /cannot be used now: its disk is full/ }
    await assert.rejects(sql`insert into t values (${big})`.execute(db), full)
    const inTransaction = () =>
      db.transaction().execute((trx) => sql`insert into t values (${big})`.execute(trx))
    await assert.rejects(inTransaction(), full)
    await sql`pragma max_page_count = 100000`.execute(db)
    await inTransaction()
    await db.destroy()
  })

  it('that another process keeps locked is unavailable too', async () => {
    const db = await openDatabase(path)
    await sql`pragma busy_timeout = 10`.execute(db)
    const other = new DatabaseSync(path)
    other.exec('begin immediate')
    await assert.rejects(sql`create table t (x text)`.execute(db), {
      code: 'unavailable',
      message: /another process keeps it locked/,
    })
    other.close()
    await db.destroy()
  })
})
