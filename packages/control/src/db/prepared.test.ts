import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sql, type Kysely } from 'kysely'
import { prepared, preparedChange, whileUnchanged } from './prepared.ts'
import { volumeColumns, volumeRecords } from './repositories/volume.ts'
import { volumeLists } from './repositories/volume-list.ts'
import type { Database } from './schema.ts'
import { openTestDatabase } from '../testing/database.ts'

const clock = { now: () => new Date('2026-02-01T00:00:00Z') }

async function insertVolumes(db: Kysely<Database>, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, i) => `v${String(i).padStart(3, '0')}`)
  for (const [i, id] of ids.entries()) {
    // Five at a time share a creation time; every seventh is hidden.
    const at = `2026-01-01T00:00:${String(Math.floor(i / 5)).padStart(2, '0')}.000Z`
    await sql`insert into volumes (id, project_id, user_id, size_gib, status, availability_zone, root_of, created_at)
      values (${id}, ${i % 2 === 0 ? 'p' : 'q'}, 'u', 1, 'available', 'nova', ${i % 7 === 0 ? 's' : null}, ${at})`.execute(
      db,
    )
  }
  return ids
}

for (const where of ['file', 'memory'] as const) {
  test(`${where}: a prepared query gives each time what is asked, and at once what was written`, async (t) => {
    const db = await openTestDatabase(t, where)
    await insertVolumes(db, 3)
    const named = prepared<{ id: string; size: number }, [id: string, name: string | null]>(db, (given) =>
      db
        .selectFrom('volumes')
        .select(['id', 'name'])
        .where('size_gib', '=', given('size'))
        .where('status', '=', 'available')
        .where('id', '=', given('id')),
    )
    assert.deepEqual(await named({ id: 'v001', size: 1 }), [['v001', null]])
    assert.deepEqual(await named({ id: 'v002', size: 1 }), [['v002', null]])
    assert.deepEqual(await named({ id: 'v002', size: 2 }), [])
    for (let i = 0; i < 50; i += 1) {
      await db
        .updateTable('volumes')
        .set({ name: `n${i}` })
        .where('id', '=', 'v001')
        .execute()
      assert.deepEqual(await named({ id: 'v001', size: 1 }), [['v001', `n${i}`]])
    }
  })

  test(`${where}: what is remembered is read anew after each commit`, async (t) => {
    const db = await openTestDatabase(t, where)
    await insertVolumes(db, 1)
    let loads = 0
    const name = whileUnchanged(db, async () => {
      loads += 1
      return (await db.selectFrom('volumes').select('name').executeTakeFirstOrThrow()).name
    })
    assert.equal(await name(), null)
    assert.equal(await name(), null)
    for (let i = 0; i < 50; i += 1) {
      await db
        .updateTable('volumes')
        .set({ name: `n${i}` })
        .execute()
      assert.equal(await name(), `n${i}`)
    }
    if (where === 'file') assert.equal(loads, 51)
  })

  test(`${where}: the common lists are the ones that any other query would give`, async (t) => {
    const db = await openTestDatabase(t, where)
    const ids = await insertVolumes(db, 60)
    const lists = volumeLists(db)
    for (const projectId of [undefined, 'p', 'q', 'nobody']) {
      for (const direction of ['asc', 'desc'] as const) {
        for (const marker of [undefined, ids[1], ids[33], ids[58]]) {
          for (const [limit, offset] of [[7, 0] as const, [100, 3] as const, [0, 0] as const]) {
            const sort = [{ key: 'created_at' as const, direction }]
            const page = { sort, limit, offset, ...(marker !== undefined && { marker }) }
            const filter = projectId === undefined ? {} : { projectId }
            const common = await lists.page({ ...page, filter })
            // A condition that all meet: that list is none of the common ones.
            const other = await lists.page({ ...page, filter: { ...filter, sizes: [1] } })
            assert.deepEqual(common, other)
          }
        }
      }
    }
    const sort = [{ key: 'created_at' as const, direction: 'desc' as const }]
    const unknown = { filter: {}, sort, limit: 9, offset: 0, marker: ids[0] ?? '' }
    await assert.rejects(lists.page(unknown), /could not be found/, 'a hidden one is no marker')
  })
}

test('a transaction sees what it did, and others what is committed', async (t) => {
  const db = await openTestDatabase(t, 'file')
  await insertVolumes(db, 2)
  await db.transaction().execute(async (trx) => {
    await trx.updateTable('volumes').set({ name: 'new' }).where('id', '=', 'v001').execute()
    assert.equal((await volumeRecords(trx, clock).find('v001'))?.name, 'new')
    assert.equal((await volumeRecords(db, clock).find('v001'))?.name, null)
  })
  assert.equal((await volumeRecords(db, clock).find('v001'))?.name, 'new')
})

test('a summary tells what all volumes of the project have as metadata, as a list of them would', async (t) => {
  const db = await openTestDatabase(t, 'memory')
  const ids = await insertVolumes(db, 40)
  for (const [i, id] of ids.entries()) {
    const metadata = i % 3 === 0 ? '{}' : JSON.stringify({ tier: `t${i % 5}`, [`k${i % 4}`]: 'Ö' })
    await db.updateTable('volumes').set({ metadata }).where('id', '=', id).execute()
  }
  const lists = volumeLists(db)
  const sorted = (values: Record<string, string[]>) =>
    Object.entries(values)
      .map(([key, list]) => [key, list.toSorted()])
      .toSorted()
  for (const projectId of ['p', 'q', 'nobody']) {
    const all = await lists.metadataValues({ projectId })
    assert.deepEqual(sorted(all), sorted(await lists.metadataValues({ projectId, sizes: [1] })))
    assert.equal(Object.keys(all).length > 0, projectId !== 'nobody')
  }
})

test('all columns of a volume are read', async (t) => {
  const db = await openTestDatabase(t, 'memory')
  const { rows } = await sql<{ name: string }>`select name from pragma_table_info('volumes')`.execute(db)
  const others = ['revision']
  assert.deepEqual(rows.map(({ name }) => name).toSorted(), [...volumeColumns, ...others].toSorted())
})

test('a prepared change is carried out in the transaction that it is given, of whichever database', async (t) => {
  const rename = preparedChange<{ id: string; name: string | null }>((db, given) =>
    db
      .updateTable('volumes')
      .set({ name: given('name') })
      .where('id', '=', given('id'))
      .returning('name'),
  )
  for (const where of ['file', 'memory'] as const) {
    const db = await openTestDatabase(t, where)
    await insertVolumes(db, 2)
    const nameOf = async (id: string) =>
      (await db.selectFrom('volumes').select('name').where('id', '=', id).executeTakeFirst())?.name
    const undone = db.transaction().execute(async (trx) => {
      const { rows } = await rename(trx, { id: 'v000', name: 'one' })
      assert.deepEqual({ ...(rows[0] as object) }, { name: 'one' })
      throw new Error('undone')
    })
    await assert.rejects(undone, /undone/)
    assert.equal(await nameOf('v000'), null)
    await db.transaction().execute(async (trx) => {
      await rename(trx, { id: 'v000', name: 'two' })
      await rename(trx, { id: 'v001', name: 'three' })
      assert.deepEqual((await rename(trx, { id: 'v009', name: null })).rows, [])
    })
    assert.deepEqual([await nameOf('v000'), await nameOf('v001')], ['two', 'three'])
  }
})
