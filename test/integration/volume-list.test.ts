import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { openVolumeRig, otherProjectId, projectId, type VolumeRig } from './volume-rig.ts'

const ids = Array.from({ length: 25 }, (_, i) => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`)
let rig: VolumeRig
before(async () => {
  rig = await openVolumeRig()
  for (const [i, id] of ids.entries()) {
    await rig.world.records.volumes.create({
      id,
      projectId: i % 5 === 4 ? otherProjectId : projectId,
      userId: 'u',
      name: i % 7 === 0 ? null : `volume ${String(i).padStart(2, '0')}`,
      description: i === 3 ? '50%_done' : null,
      sizeGib: 1 + (i % 3),
      status: i % 2 === 0 ? 'available' : 'error',
      migrationStatus: i === 6 ? 'success' : null,
      previousStatus: null,
      bootable: i === 2,
      multiattach: false,
      availabilityZone: 'nova',
      volumeTypeId: null,
      flexvolId: i < 10 ? rig.world.lma.id : rig.world.lmb.id,
      imageId: null,
      sourceVolid: null,
      snapshotId: null,
      metadata: i === 1 ? { Key: 'v"1', other: 'x' } : {},
      shareId: null,
      rootOf: null,
      imageMetadata: {},
      // Groups of the same time: the id decides between them.
      createdAt: new Date(1_700_000_000_000 + Math.floor(i / 4) * 1000).toISOString(),
      updatedAt: null,
    })
  }
})
after(() => rig.stop())

const listed = async (query: string, as: 'admin' | 'member' = 'admin'): Promise<string[]> => {
  const answer = await rig.call('GET', `/volumes?${query}`, { as })
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  return answer.body.volumes.map((v: { id: string }) => v.id)
}
const at = (...numbers: number[]) => numbers.map((i) => ids[i])

test('the newest first; an administrator sees other projects only when asked for', async () => {
  const all = await listed('all_tenants=1')
  assert.deepEqual(all, ids.toReversed())
  const own = ids.filter((_, i) => i % 5 !== 4).toReversed()
  assert.deepEqual(await listed(''), own)
  assert.deepEqual(await listed('all_tenants=1', 'member'), own)
  assert.deepEqual(await listed(`all_tenants=1&project_id=${otherProjectId}`), at(24, 19, 14, 9, 4))
})

test('following next links visits each volume once, in every order', async () => {
  for (const sort of [
    '',
    'sort=name:asc',
    'sort=size:desc,name:asc',
    'sort=status:asc,created_at',
    'sort_key=id',
  ]) {
    const seen: string[] = []
    let path: string | undefined = `/volumes?all_tenants=1&limit=4&${sort}`
    while (path !== undefined) {
      const answer = await rig.call('GET', path, { as: 'admin' })
      seen.push(...answer.body.volumes.map((v: { id: string }) => v.id))
      const href: string | undefined = answer.body.volumes_links?.[0].href
      path = href?.slice(href.indexOf('/volumes?'))
      assert.ok(seen.length <= ids.length, sort)
    }
    assert.deepEqual(seen.toSorted(), ids, sort)
    assert.deepEqual(seen, await listed(`all_tenants=1&${sort}`), sort)
  }
})

test('filters', async () => {
  assert.deepEqual(await listed('name=volume%2003'), at(3))
  assert.deepEqual(await listed('all_tenants=1&name~=me%201'), at(19, 18, 17, 16, 15, 13, 12, 11, 10))
  assert.deepEqual(await listed('description~=50%25_'), at(3))
  assert.deepEqual(await listed('bootable=true'), at(2))
  assert.deepEqual(await listed('migration_status=success'), at(6))
  assert.deepEqual(await listed('metadata=%7B%22Key%22%3A%22v%5C%221%22%7D'), at(1))
  assert.deepEqual(await listed(`metadata=%7B'other':'x'%7D`), at(1))
  assert.deepEqual(await listed(`metadata=%7B'key':'x'%7D`), [])
  assert.deepEqual(await listed(`id=${ids[7]}`), at(7))
  assert.deepEqual(await listed('size=2&status=available&all_tenants=1'), at(22, 16, 10, 4))
  assert.deepEqual((await listed('host=testhost@cinder-lma&all_tenants=1')).length, 10)
  const pool = encodeURIComponent('testhost@cinder-lmb#127.250.118.51:/cinder_flexvol_OSTK09')
  assert.deepEqual((await listed(`host=${pool}&all_tenants=1`)).length, 15)
  assert.deepEqual(await listed('host=elsewhere'), [])
  assert.deepEqual(await listed('created_at=gte:2023-11-14T22:13:25'), at(23, 22, 21, 20))
  assert.deepEqual(await listed('availability_zone=east'), [])
  assert.deepEqual(await listed('group_id=x'), [])
})

test('paging by limit and offset, and a count of all', async () => {
  assert.deepEqual(await listed('all_tenants=1&limit=2&offset=3'), at(21, 20))
  assert.deepEqual(await listed('all_tenants=1&limit=0'), [])
  const counted = await rig.call('GET', '/volumes/detail?limit=1&with_count=True', { as: 'admin' })
  assert.equal(counted.body.count, 20)
  assert.equal('count' in (await rig.call('GET', '/volumes?with_count=1', { version: '3.44' })).body, false)
  const summary = await rig.call('GET', '/volumes/summary?all_tenants=1', { as: 'admin' })
  assert.deepEqual(summary.body['volume-summary'], {
    total_count: 25,
    total_size: 49,
    metadata: { Key: ['v"1'], other: ['x'] },
  })
})

test('wrong queries are refused with what is wrong', async () => {
  for (const query of [
    'limit=-1',
    'limit=x',
    'offset=1e9',
    'sort=nonsense',
    'sort=name:up',
    'sort_dir=sideways',
    'sort=name&sort_key=id',
    'bootable=perhaps',
    'metadata=x',
    'created_at=yesterday',
    'all_tenants=maybe',
    'colour=blue',
  ]) {
    const answer = await rig.call('GET', `/volumes?${query}`, { as: 'admin' })
    assert.equal(answer.status, 400, query)
    assert.match(answer.body.badRequest.message, /^Invalid input received: /)
  }
  assert.equal((await rig.call('GET', '/volumes?marker=unknown')).status, 404)
  // Before 3.31 unknown filters were ignored, and those of the administrator are unknown to others.
  assert.equal((await rig.call('GET', '/volumes?colour=blue', { version: '3.30' })).status, 200)
  assert.equal((await rig.call('GET', '/volumes?host=x')).status, 400)
})

test('a page that is asked for again is the same answer, and another one as soon as it has changed', async () => {
  const { volumes } = rig.world.records
  for (const query of ['limit=5', 'limit=5&all_tenants=1&with_count=true', `limit=3&marker=${ids[20]}`, '']) {
    for (const as of ['admin', 'member'] as const) {
      if (as === 'member' && query.includes('all_tenants')) continue
      const ask = async () => {
        const url = `/volume/v3/${projectId}/volumes/detail?${query}`
        const headers = { 'x-auth-token': as, 'openstack-api-version': 'volume 3.70', host: 'cloud.test' }
        const { statusCode, body, headers: answered } = await rig.app.inject({ url, headers })
        assert.equal(statusCode, 200, body)
        return { body, type: answered['content-type'], length: answered['content-length'] }
      }
      const first = await ask()
      assert.ok(JSON.parse(first.body).volumes.length > 0)
      for (let i = 0; i < 3; i += 1) assert.deepEqual(await ask(), first, `${as} ${query}`)
      const id = String(JSON.parse(first.body).volumes[0].id)
      const { name } = await volumes.get(id)
      await volumes.update(id, { name: 'renamed', updatedAt: null })
      const renamed = await ask()
      assert.equal(JSON.parse(renamed.body).volumes[0].name, 'renamed')
      assert.deepEqual(await ask(), renamed)
      await volumes.update(id, { name, updatedAt: null })
      assert.deepEqual(await ask(), first, `${as} ${query}, with its own name again`)
    }
  }
})
