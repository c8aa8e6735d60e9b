import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { openComputeRig, probeImage, type ComputeRig } from './compute-rig.ts'

let rig: ComputeRig
before(async () => {
  rig = await openComputeRig({ hosts: ['compute-1', 'compute-2'] })
})
after(() => rig.stop())

const path = '/os-server-groups'
const project = '0123456789abcdef0123456789abcdef'
const make = (group: object, version = '2.92', as = 'member') =>
  rig.call('POST', path, { as, version, body: { server_group: group } })
const made = async (policy: string, rules?: object): Promise<string> => {
  const answer = await make({ name: policy, policy, ...(rules && { rules }) })
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  return answer.body.server_group.id
}
const boot = (group: string, fields: object = {}, as = 'member', hints = 'os:scheduler_hints') =>
  rig.call('POST', '/servers', {
    as,
    body: {
      server: { name: 's', flavorRef: '6', imageRef: probeImage, networks: 'none', ...fields },
      [hints]: { group },
    },
  })
const message = (answer: { body: Record<string, { message: string }> }): string =>
  Object.values(answer.body)[0]?.message ?? ''
const show = async (id: string, version = '2.92') =>
  (await rig.call('GET', `${path}/${id}`, { version })).body.server_group
const hostOf = async (id: string) => (await rig.settle(id, 'ACTIVE'))?.['OS-EXT-SRV-ATTR:host']

test('a group looks as its microversion had it', async () => {
  const oldest = (await make({ name: 'old', policies: ['affinity'] }, '2.1')).body.server_group
  assert.deepEqual(oldest, { id: oldest.id, name: 'old', policies: ['affinity'], members: [], metadata: {} })
  const owned = await show(oldest.id, '2.13')
  assert.deepEqual([owned.project_id, typeof owned.user_id], [project, 'string'])
  assert.deepEqual(await show(oldest.id, '2.64'), {
    id: oldest.id,
    name: 'old',
    policy: 'affinity',
    rules: {},
    members: [],
    project_id: project,
    user_id: owned.user_id,
  })
  const ruled = await make({ name: 'r', policy: 'anti-affinity', rules: { max_server_per_host: '3' } })
  assert.deepEqual(ruled.body.server_group.rules, { max_server_per_host: 3 })
  for (const id of [oldest.id, ruled.body.server_group.id]) {
    assert.equal((await rig.call('DELETE', `${path}/${id}`)).status, 204)
    assert.equal((await rig.call('DELETE', `${path}/${id}`)).status, 404)
    const gone = await rig.call('GET', `${path}/${id}`)
    assert.equal(gone.status, 404)
    assert.equal(message(gone), `Instance group ${id} could not be found.`)
  }
})

test('wrong groups are refused as the schema of the microversion would', async () => {
  const cases: [string, object, RegExp][] = [
    ['2.1', { name: 'g', policies: ['soft-affinity'] }, /policies/],
    ['2.1', { name: 'g', policies: ['affinity', 'anti-affinity'] }, /policies/],
    ['2.1', { name: 'g', policies: [] }, /policies/],
    ['2.1', { name: 'g' }, /'policies' is a required property/],
    ['2.1', { name: ' g', policies: ['affinity'] }, /name/],
    ['2.63', { name: 'g', policy: 'affinity' }, /'policy' was unexpected|required property/],
    ['2.64', { name: 'g', policies: ['affinity'] }, /'policies' was unexpected|required property/],
    ['2.64', { name: 'g', policy: 'legacy' }, /policy/],
    [
      '2.64',
      { name: 'g', policy: 'affinity', rules: { max_server_per_host: 2 } },
      /Only anti-affinity policy supports rules/,
    ],
    [
      '2.64',
      { name: 'g', policy: 'anti-affinity', rules: { max_server_per_host: 0 } },
      /max_server_per_host/,
    ],
    ['2.64', { name: 'g', policy: 'anti-affinity', rules: { most: 2 } }, /'most' was unexpected/],
  ]
  for (const [version, group, words] of cases) {
    const answer = await make(group, version)
    assert.equal(answer.status, 400, JSON.stringify(group))
    assert.match(message(answer), words)
  }
  assert.equal((await make({ name: 'g', policies: ['soft-anti-affinity'] }, '2.15')).status, 200)
  assert.equal((await make({ name: 'g', policy: 'affinity' }, '2.92', 'reader')).status, 403)
  for (const { id } of (await rig.call('GET', path)).body.server_groups) {
    await rig.call('DELETE', `${path}/${id}`)
  }
})

test('groups are listed by project and in pages, and counted against the quota', async () => {
  const ids: string[] = []
  for (let i = 0; i < 3; i += 1) ids.push(await made('affinity'))
  const foreign = (await make({ name: 'f', policy: 'affinity' }, '2.92', 'other')).body.server_group
  const list = async (query: string, as = 'member'): Promise<string[]> =>
    (await rig.call('GET', `${path}${query}`, { as })).body.server_groups.map(
      (group: { id: string }) => group.id,
    )
  assert.notEqual(foreign.project_id, project)
  assert.deepEqual(await list(''), ids)
  assert.deepEqual(await list('?all_projects'), ids, 'who is no administrator gets the own ones')
  assert.deepEqual(await list('?all_projects=True', 'admin'), [...ids, foreign.id])
  assert.equal((await rig.call('GET', `${path}/${foreign.id}`)).status, 404)
  assert.equal((await rig.call('DELETE', `${path}/${foreign.id}`)).status, 404)
  assert.equal((await boot(foreign.id)).status, 400)
  assert.deepEqual(await list('?limit=1&offset=1'), [ids[1]])
  assert.deepEqual(await list('?limit=0'), ids)
  assert.equal((await rig.call('GET', `${path}?limit=-1`)).status, 400)
  assert.equal((await rig.call('GET', `${path}?colour=red`)).status, 400)

  const { absolute } = (await rig.call('GET', '/limits')).body.limits
  const used = absolute.totalServerGroupsUsed
  assert.equal(used, 3)
  const low = await rig.call('PUT', `/os-quota-sets/${project}`, {
    as: 'admin',
    body: { quota_set: { server_groups: 1 } },
  })
  assert.equal(low.status, 400, 'fewer than there are')
  await rig.call('PUT', `/os-quota-sets/${project}`, {
    as: 'admin',
    body: { quota_set: { server_groups: used } },
  })
  const over = await make({ name: 'g', policy: 'affinity' })
  assert.equal(over.status, 403)
  assert.equal(message(over), 'Quota exceeded, too many server groups.')
  const detail = (await rig.call('GET', `/os-quota-sets/${project}/detail`)).body.quota_set
  assert.deepEqual(detail.server_groups, { limit: used, in_use: used, reserved: 0 })
  await rig.call('DELETE', `/os-quota-sets/${project}`, { as: 'admin' })
})

test('servers of an anti-affinity group are apart, and one more than hosts is in ERROR', async () => {
  const group = await made('anti-affinity')
  const two = await boot(group, {
    min_count: 2,
    max_count: 2,
    return_reservation_id: true,
    // Without a disk of its own, so that it could be migrated live.
    block_device_mapping_v2: [
      {
        source_type: 'image',
        uuid: probeImage,
        destination_type: 'volume',
        volume_size: 1,
        boot_index: 0,
        delete_on_termination: true,
      },
    ],
    imageRef: '',
  })
  assert.equal(two.status, 202)
  const { members } = await show(group)
  assert.equal(members.length, 2)
  assert.deepEqual((await Promise.all(members.map(hostOf))).toSorted(), ['compute-1', 'compute-2'])
  const [first] = members
  const server = (await rig.call('GET', `/servers/${first}`)).body.server
  assert.deepEqual(server.server_groups, [group])
  assert.ok(
    !('server_groups' in (await rig.call('GET', `/servers/${first}`, { version: '2.70' })).body.server),
  )
  const renamed = await rig.call('PUT', `/servers/${first}`, { body: { server: { name: 't' } } })
  assert.deepEqual(renamed.body.server.server_groups, [group])

  const act = (body: object) => rig.call('POST', `/servers/${first}/action`, { as: 'admin', body })
  const free = (await hostOf(first)) === 'compute-1' ? 'compute-2' : 'compute-1'
  const because = new RegExp(`${free} has server ${members[1]} of server group 'anti-affinity'`)
  for (const body of [
    { 'os-migrateLive': { host: null, block_migration: 'auto' } },
    { 'os-migrateLive': { host: free, block_migration: 'auto' } },
    { migrate: { host: free } },
  ]) {
    const refused = await act(body)
    assert.equal(refused.status, 400, JSON.stringify(refused.body))
    assert.match(message(refused), because)
    assert.equal(await hostOf(first), free === 'compute-1' ? 'compute-2' : 'compute-1')
  }

  const third = (await boot(group, {}, 'member', 'OS-SCH-HNT:scheduler_hints')).body.server.id
  const failed = await rig.settle(third, 'ERROR')
  const fault = failed?.['fault'] as { message: string }
  assert.match(fault.message, /^No valid host was found/)
  await rig.call('DELETE', `/servers/${third}`)
  await rig.call('DELETE', `/servers/${first}`)
  await rig.settle(third, 'DELETED')
  await rig.settle(first, 'DELETED')
  assert.deepEqual((await show(group)).members, [members[1]], 'who is deleted has left')
  const again = (await boot(group)).body.server.id
  assert.ok(await hostOf(again))
})

test('servers of an affinity group are together, and more than the quota allows do not join', async () => {
  const group = await made('affinity')
  const first = (await boot(group, { availability_zone: 'nova:compute-2' }, 'admin')).body.server.id
  assert.equal(await hostOf(first), 'compute-2')
  assert.equal(await hostOf((await boot(group)).body.server.id), 'compute-2')
  await rig.call('PUT', `/os-quota-sets/${project}`, {
    as: 'admin',
    body: { quota_set: { server_group_members: 3 } },
  })
  const over = await boot(group, { min_count: 2 })
  assert.equal(over.status, 403)
  assert.match(message(over), /Quota exceeded, too many servers in group/)
  assert.equal((await show(group)).members.length, 2, 'nothing was made')
  assert.equal((await boot(group)).status, 202)
  await rig.call('DELETE', `/os-quota-sets/${project}`, { as: 'admin' })

  const absent = await boot('00000000-0000-4000-8000-000000000000')
  assert.equal(absent.status, 400)
  assert.match(message(absent), /Instance group 0{8}-.* could not be found/)
  assert.equal((await boot('mine')).status, 400)
  assert.equal((await rig.call('DELETE', `${path}/${group}`)).status, 204, 'its servers stay')
  assert.deepEqual(
    (await rig.call('GET', `/servers/${first}`, { as: 'admin' })).body.server.server_groups,
    [],
  )
})
