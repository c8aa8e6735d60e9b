import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { sql, type Kysely } from 'kysely'
import { migrations } from './migrations/index.ts'
import { openDatabase } from './open.ts'
import type { Database } from './schema.ts'

/** Each sum, and how it is told from the rows alone. */
const sums = {
  block_usage: {
    kept: 'select project_id, kind, count, size_gib from block_usage where count <> 0 order by 1, 2',
    told: `select project_id, 'snapshot' as kind, count(*) as count, sum(size_gib) as size_gib from snapshots
      where share_id is null group by project_id
      union all
      select project_id, 'volume', count(*), sum(size_gib) from volumes
      where share_id is null and root_of is null group by project_id order by 1, 2`,
  },
  flexvol_sums: {
    kept: 'select flexvol_id, of_share, volumes from flexvol_sums order by 1, 2',
    told: `select flexvol_id, share_id is not null as of_share, count(*) as volumes from volumes
      where flexvol_id is not null group by flexvol_id, of_share order by 1, 2`,
  },
  copy_sums: {
    kept: 'select * from copy_sums order by 1, 2, 3, 4, 5',
    told: `select flexvol_id, node, aggregate, state, snapshot_id is not null as of_snapshot, count(*) as copies,
      sum(size_bytes) as size_bytes, sum(reserved_bytes) as reserved_bytes from copies
      group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5`,
  },
}

async function requireRight(db: Kysely<Database>, when: string): Promise<void> {
  for (const [name, { kept, told }] of Object.entries(sums)) {
    const rows = async (text: string) => (await sql.raw<object>(text).execute(db)).rows
    assert.deepEqual(await rows(kept), await rows(told), `${name} ${when}`)
  }
}

/** Numbers from 0 to below `n`, the same ones for the same seed. */
function numbers(seed: number): (n: number) => number {
  let state = seed
  return (n) => {
    state = (state * 1103515245 + 12345) % 2 ** 31
    return Math.floor((state / 2 ** 31) * n)
  }
}

/** One change of one row, as operations and requests make them. */
async function change(db: Kysely<Database>, next: (n: number) => number, i: number): Promise<void> {
  const pick = <T>(...values: T[]): T => values[next(values.length)] as T
  const text = (value: string | null): string => (value === null ? 'null' : `'${value}'`)
  const some = (table: string, key: string): string =>
    `${key} = (select ${key} from ${table} order by ${key} limit 1 offset ${next(12)})`
  const project = (): string => text(pick('p1', 'p2', 'p3'))
  const flexvol = (): string => text(pick('f1', 'f2'))
  const shared = (): string => text(pick<string | null>(null, null, 'share'))
  const state = (): string => text(pick('target', 'live', 'retained'))
  const at = "'2026-01-01'"
  const statements = [
    () => `insert into volumes (id, project_id, user_id, size_gib, status, availability_zone, flexvol_id, share_id,
      root_of, created_at) values ('v${i}', ${project()}, 'u', ${1 + next(9)}, 'available', 'nova',
      ${pick('null', flexvol())}, ${shared()}, ${text(pick<string | null>(null, null, 'server'))}, ${at})`,
    () => `update volumes set size_gib = ${1 + next(9)}, status = 'in-use' where ${some('volumes', 'id')}`,
    () =>
      `update volumes set project_id = ${project()}, share_id = ${shared()} where ${some('volumes', 'id')}`,
    () => `update volumes set flexvol_id = ${flexvol()}, root_of = null where ${some('volumes', 'id')}`,
    () => `delete from volumes where ${some('volumes', 'id')}`,
    () => `insert into snapshots (id, volume_id, project_id, user_id, size_gib, status, flexvol_id, share_id,
      created_at) values ('s${i}', 'v', ${project()}, 'u', ${1 + next(9)}, 'available', 'f1', ${shared()}, ${at})`,
    () =>
      `update snapshots set size_gib = ${1 + next(9)}, share_id = ${shared()} where ${some('snapshots', 'id')}`,
    () => `delete from snapshots where ${some('snapshots', 'id')}`,
    () => `insert into copies (image_id, volume_id, flexvol_id, node, aggregate, size_bytes, state, reserved_bytes,
      snapshot_id, created_at) values ('i${i}', 'v', ${flexvol()}, 'n', ${text(pick('a1', 'a2'))}, ${next(99)},
      ${state()}, ${next(9)}, ${text(pick<string | null>(null, 's'))}, ${at})`,
    () =>
      `update copies set state = ${state()}, reserved_bytes = ${next(9)} where ${some('copies', 'image_id')}`,
    () => `update copies set node = 'm', size_bytes = ${next(99)} where ${some('copies', 'image_id')}`,
    () =>
      `update copies set flexvol_id = ${flexvol()}, snapshot_id = null where ${some('copies', 'image_id')}`,
    () => `delete from copies where ${some('copies', 'image_id')}`,
  ]
  await sql.raw((statements[next(statements.length)] as () => string)()).execute(db)
}

async function makeFlexVols(db: Kysely<Database>): Promise<void> {
  for (const id of ['f1', 'f2']) {
    await sql`insert into flexvols (id, cluster, name, lif, junction_path, node, aggregate, created_at)
      values (${id}, 'c', ${id}, 'l', ${id}, 'n', 'a1', '2026-01-01')`.execute(db)
  }
}

test('whatever is done to rows, the sums are what the rows say', async (t) => {
  const db = await openDatabase(':memory:')
  t.after(() => db.destroy())
  await makeFlexVols(db)
  const next = numbers(7)
  for (let i = 0; i < 600; i += 1) {
    await change(db, next, i)
    if (i % 10 === 0) await requireRight(db, `after ${i} changes`)
  }
  await requireRight(db, 'at the end')
  assert.notDeepEqual(await db.selectFrom('copy_sums').selectAll().execute(), [])
  assert.notDeepEqual(await db.selectFrom('block_usage').selectAll().execute(), [])
})

test('a change that is rolled back leaves the sums as they were', async (t) => {
  const db = await openDatabase(':memory:')
  t.after(() => db.destroy())
  await makeFlexVols(db)
  const next = numbers(3)
  for (let i = 0; i < 60; i += 1) await change(db, next, i)
  await assert.rejects(
    db.transaction().execute(async (trx) => {
      for (let i = 60; i < 120; i += 1) await change(trx, next, i)
      throw new Error('struck down')
    }),
    /struck down/,
  )
  await requireRight(db, 'after the rollback')
})

test('a database of an earlier release gets its sums when it is upgraded', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vdb-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'volant.db')
  const earlier = Object.fromEntries(Object.entries(migrations).filter(([name]) => name < '0012'))
  const before = await openDatabase(path, { migrations: earlier })
  await makeFlexVols(before)
  const next = numbers(11)
  for (let i = 0; i < 300; i += 1) await change(before, next, i)
  await before.destroy()
  const db = await openDatabase(path)
  t.after(() => db.destroy())
  await requireRight(db, 'after the upgrade')
  for (let i = 300; i < 400; i += 1) await change(db, next, i)
  await requireRight(db, 'and later')
  assert.notDeepEqual(await db.selectFrom('flexvol_sums').selectAll().execute(), [])
})
