import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { addSnapshot } from '../../packages/control/src/testing/snapshots.ts'
import { otherProjectId, openVolumeRig, projectId, type VolumeRig } from './volume-rig.ts'

let rig: VolumeRig
const volumes: string[] = []
/** By name, s00 the oldest. */
const ids = new Map<string, string>()

before(async () => {
  rig = await openVolumeRig()
  for (let i = 0; i < 2; i++) volumes.push((await rig.create()).id)
  for (let i = 0; i < 25; i++) {
    const volume = await rig.world.records.volumes.get(volumes[i % 2] as string)
    const name = `s${String(i).padStart(2, '0')}`
    const snapshot = await addSnapshot(rig.world, volume, {
      projectId,
      name,
      description: i === 3 ? 'odd one' : null,
      status: i % 5 === 0 ? 'error' : 'available',
      sizeGib: 1 + (i % 3),
      metadata: i % 4 === 0 ? { kind: 'daily', n: String(i) } : {},
      // Two of each time: the id decides.
      createdAt: new Date(1_700_000_000_000 + Math.floor(i / 2) * 1000).toISOString(),
    })
    ids.set(name, snapshot.id)
  }
  const volume = await rig.world.records.volumes.get(volumes[0] as string)
  await addSnapshot(rig.world, volume, { projectId: otherProjectId, name: 'theirs', status: 'available' })
})
after(() => rig.stop())

const list = async (query: string, as: 'admin' | 'member' | 'other' = 'member', version = '3.70') => {
  const answer = await rig.call('GET', `/snapshots${query}`, { as, version })
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  return answer.body
}
const names = (body: { snapshots: { name: string }[] }): string[] => body.snapshots.map(({ name }) => name)

test('one project’s alone; an administrator sees others only when asked for', async () => {
  assert.equal((await list('')).snapshots.length, 25)
  assert.deepEqual(names(await list('', 'other')), ['theirs'])
  assert.equal((await list('', 'admin')).snapshots.length, 25)
  assert.equal((await list('?all_tenants=1', 'admin')).snapshots.length, 26)
  assert.equal((await list('?all_tenants=1')).snapshots.length, 25)
  assert.deepEqual(names(await list(`?all_tenants=1&project_id=${otherProjectId}`, 'admin')), ['theirs'])
})

test('following next links visits each snapshot once, in every order', async () => {
  const orders = [
    '',
    'sort=created_at:asc',
    'sort=name:desc',
    'sort=size:asc,name:desc',
    'sort=status:desc,created_at:asc',
    'sort_key=volume_id&sort_dir=asc',
    'sort=updated_at',
  ]
  for (const order of orders) {
    const all = names(await list(`?${order}`))
    const seen: string[] = []
    let query = `?${order}&limit=4`
    for (let page = 0; page < 10; page++) {
      const body = await list(query)
      seen.push(...names(body))
      const next = body.snapshots_links?.[0]?.href as string | undefined
      if (next === undefined) break
      query = next.slice(next.indexOf('?'))
    }
    assert.deepEqual(seen, all, order)
    assert.equal(new Set(seen).size, 25, order)
  }
})

test('filters, counts and the columns of a list', async () => {
  assert.deepEqual(names(await list('?name=s07')), ['s07'])
  assert.equal(names(await list('?name~=s1')).length, 10)
  assert.deepEqual(names(await list('?description~=odd')), ['s03'])
  assert.equal(names(await list('?status=error')).length, 5)
  assert.equal(names(await list(`?volume_id=${volumes[1]}`)).length, 12)
  assert.deepEqual(names(await list(`?metadata={'kind':'daily','n':'8'}`)), ['s08'])
  assert.equal(names(await list('?availability_zone=nova')).length, 25)
  assert.equal(names(await list('?availability_zone=mars')).length, 0)
  assert.equal(names(await list('?consumes_quota=false')).length, 0)
  const counted = await list('/detail?status=error&limit=2&with_count=true')
  assert.equal(counted.count, 5)
  assert.equal(counted.snapshots.length, 2)
  assert.equal((await list('?with_count=true', 'member', '3.44')).count, undefined)
  const [summary] = (await list('?name=s01')).snapshots
  assert.equal(summary['os-extended-snapshot-attributes:progress'], undefined)
  const [detail] = (await list('/detail?name=s01')).snapshots
  assert.equal(detail['os-extended-snapshot-attributes:project_id'], projectId)
})

test('wrong queries are refused with what is wrong', async () => {
  for (const [query, reason] of [
    ['?sort=colour', /sort key 'colour'/],
    ['?sort=name:up', /direction/],
    ['?limit=x', /limit must be/],
    ['?nonsense=1', /Invalid filters nonsense/],
    ['?metadata=x', /metadata must be an object/],
  ] as const) {
    const answer = await rig.call('GET', `/snapshots${query}`)
    assert.equal(answer.status, 400, query)
    assert.match(answer.body.badRequest.message, reason)
  }
  assert.equal((await rig.call('GET', '/snapshots?marker=none')).status, 404)
  assert.equal((await list('?nonsense=1', 'member', '3.30')).snapshots.length, 25)
})

test('a page of the newest starts at its marker’s place in an index, and sorts nothing', async () => {
  const plan = async (where: string): Promise<string> => {
    const { sql } = await import('kysely')
    const text = `explain query plan select * from snapshots where ${where} order by created_at desc, id desc limit 10`
    const { rows } = await sql.raw<{ detail: string }>(text).execute(rig.world.db)
    return rows.map(({ detail }) => detail).join('; ')
  }
  for (const where of [
    `project_id = 'p' and (created_at, id) < ('2026', 'x')`,
    `volume_id = 'v' and (created_at, id) < ('2026', 'x')`,
    `(created_at, id) < ('2026', 'x')`,
  ]) {
    const found = await plan(where)
    assert.match(found, /SEARCH snapshots USING INDEX/, where)
    assert.doesNotMatch(found, /TEMP B-TREE/, where)
  }
})
