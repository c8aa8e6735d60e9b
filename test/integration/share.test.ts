import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { host, lif, openShareRig, type ShareRig } from './share-rig.ts'
import { otherProjectId, projectId } from './volume-rig.ts'

let rig: ShareRig
before(async () => {
  rig = await openShareRig()
})
after(() => rig.stop())

const junction = (id: string) => `${lif}:/share_${id.replaceAll('-', '_')}`

test('the versions are told to anybody, as Manila tells them', async () => {
  const root = await rig.app.inject({ method: 'GET', url: '/share/', headers: { host: 'volant.test' } })
  assert.equal(root.statusCode, 300)
  const { versions } = root.json()
  assert.deepEqual(
    versions.map((one: Record<string, string>) => [
      one['id'],
      one['status'],
      one['version'],
      one['min_version'],
    ]),
    [
      ['v1.0', 'DEPRECATED', '', ''],
      ['v2.0', 'CURRENT', '2.98', '2.0'],
    ],
  )
  const v2 = await rig.app.inject({ method: 'GET', url: '/share/v2/', headers: { host: 'volant.test' } })
  assert.equal(v2.statusCode, 200)
  assert.equal(v2.json().versions[0].links[1].href, 'http://volant.test/share/v2/')
})

test('a microversion is read, echoed, and refused where it is malformed or unknown', async () => {
  const fine = await rig.call('GET', '/shares', { version: '2.60' })
  assert.equal(fine.headers['x-openstack-manila-api-version'], '2.60')
  assert.equal(fine.headers['vary'], 'X-OpenStack-Manila-API-Version')
  assert.match(String(fine.headers['x-openstack-request-id']), /^req-/)
  assert.equal((await rig.call('GET', '/shares', { version: '2.x' })).status, 400)
  assert.equal((await rig.call('GET', '/shares', { version: '3.0' })).status, 406)
  assert.equal((await rig.call('GET', '/messages', { version: '2.36' })).status, 404)
})

test('a share is created, shown, listed, changed and deleted', async () => {
  const made = await rig.call('POST', '/shares', {
    body: {
      share: {
        share_proto: 'nfs',
        size: 2,
        name: 'docs',
        description: 'of the office',
        metadata: { a: 'b' },
        share_type: null,
        snapshot_id: null,
        share_network_id: null,
        is_public: false,
        availability_zone: 'nova',
        scheduler_hints: {},
      },
    },
  })
  assert.equal(made.status, 200, JSON.stringify(made.body))
  const { id } = made.body.share
  assert.equal(made.body.share.status, 'creating')
  assert.equal(made.body.share.host, undefined)
  await rig.until(`/shares/${id}`, 'share', { status: 'available' })
  await rig.idle(`share/${id}`)
  const shown = (await rig.call('GET', `/shares/${id}`, { as: 'admin' })).body.share
  assert.equal(shown.host, host)
  assert.equal(shown.size, 2)
  assert.equal(shown.share_type_name, 'default')
  assert.equal(shown.progress, '100%')
  assert.equal(shown.task_state, null)
  assert.equal(shown.project_id, projectId)
  assert.equal(shown.access_rules_status, 'active')
  assert.equal(shown.export_location, undefined)
  assert.equal(shown.snapshot_support, true)
  const old = (await rig.call('GET', `/shares/${id}`, { version: '2.0' })).body.share
  assert.equal(old.export_location, junction(id))
  assert.deepEqual(old.export_locations, [junction(id)])
  assert.equal(old.share_type, 'default')

  const { export_locations: locations } = (await rig.call('GET', `/shares/${id}/export_locations`)).body
  assert.deepEqual(
    locations.map((one: Record<string, unknown>) => [one['path'], one['preferred'], one['is_admin_only']]),
    [[junction(id), true, undefined]],
  )
  const one = await rig.call('GET', `/shares/${id}/export_locations/${locations[0].id}`, { as: 'admin' })
  assert.equal(one.body.export_location.is_admin_only, false)
  const instances = (await rig.call('GET', `/shares/${id}/instances`, { as: 'admin' })).body.share_instances
  assert.equal(instances[0].id, one.body.export_location.share_instance_id)
  const instance = await rig.call('GET', `/share_instances/${instances[0].id}`, { as: 'admin' })
  assert.equal(instance.body.share_instance.host, host)

  const list = async (query: string, as = 'member') =>
    (await rig.call('GET', `/shares/detail?${query}`, { as })).body.shares.map((s: { id: string }) => s.id)
  assert.deepEqual(await list('name=docs'), [id])
  assert.deepEqual(await list('name~=oc'), [id])
  assert.deepEqual(await list(`metadata=${encodeURIComponent("{'a': 'b'}")}`), [id])
  assert.deepEqual(await list(`metadata=${encodeURIComponent("{'a': 'c'}")}`), [])
  assert.deepEqual(await list(`export_location_path=${encodeURIComponent(junction(id))}`), [id])
  assert.deepEqual(await list(`export_location_id=${locations[0].id}`), [id])
  assert.deepEqual(await list(`host=${encodeURIComponent(host)}`, 'admin'), [id])
  assert.deepEqual(await list('host=testhost@manila-lmb', 'admin'), [])
  assert.deepEqual(await list('is_public=true', 'other'), [])

  await rig.call('PUT', `/shares/${id}`, { body: { share: { display_name: 'papers' } } })
  assert.equal(
    (await rig.call('POST', `/shares/${id}/metadata`, { body: { metadata: { c: 'd' } } })).status,
    200,
  )
  assert.equal((await rig.call('DELETE', `/shares/${id}/metadata/a`)).status, 200)
  const changed = (await rig.call('GET', `/shares/${id}`)).body.share
  assert.deepEqual([changed.name, changed.metadata], ['papers', { c: 'd' }])

  assert.equal((await rig.call('DELETE', `/shares/${id}`)).status, 202)
  await rig.gone(`/shares/${id}`)
})

test('another project never learns of a share, unless an administrator made it public', async () => {
  const { id } = await rig.create({ name: 'secret' })
  for (const [method, path, body] of [
    ['GET', `/shares/${id}`],
    ['GET', `/shares/${id}/export_locations`],
    ['GET', `/shares/${id}/metadata`],
    ['GET', `/share-access-rules?share_id=${id}`],
    ['PUT', `/shares/${id}`, { share: { display_name: 'x' } }],
    ['DELETE', `/shares/${id}`],
    ['POST', `/shares/${id}/action`, { allow_access: { access_type: 'ip', access_to: '10.0.0.1' } }],
    ['POST', `/shares/${id}/action`, { extend: { new_size: 2 } }],
    ['POST', '/snapshots', { snapshot: { share_id: id } }],
  ] as const) {
    const answer = await rig.call(method, path, { as: 'other', body })
    assert.equal(answer.status, 404, `${method} ${path}: ${JSON.stringify(answer.body)}`)
  }
  const refused = await rig.call('PUT', `/shares/${id}`, { body: { share: { is_public: true } } })
  assert.equal(refused.status, 403)
  await rig.call('PUT', `/shares/${id}`, { as: 'admin', body: { share: { is_public: true } } })
  assert.equal((await rig.call('GET', `/shares/${id}`, { as: 'other' })).status, 200)
  const listed = (await rig.call('GET', '/shares?is_public=true', { as: 'other' })).body.shares
  assert.deepEqual(
    listed.map((share: { id: string }) => share.id),
    [id],
  )
  assert.deepEqual((await rig.call('GET', '/shares', { as: 'other' })).body.shares, [])
  assert.equal((await rig.call('DELETE', `/shares/${id}`, { as: 'other' })).status, 403)
  assert.equal((await rig.call('GET', `/share-access-rules?share_id=${id}`, { as: 'other' })).status, 403)
})

test('what a share cannot be made with is refused with the reason, and nothing is made', async () => {
  const before = (await rig.call('GET', '/shares?all_tenants=1', { as: 'admin' })).body.shares.length
  const refused = async (fields: Record<string, unknown>, status: number, reason: RegExp, as = 'member') => {
    const answer = await rig.call('POST', '/shares', {
      as,
      body: { share: { share_proto: 'NFS', size: 1, ...fields } },
    })
    assert.equal(answer.status, status, JSON.stringify(answer.body))
    assert.match(JSON.stringify(answer.body), reason)
  }
  await refused({ share_type: 'nope' }, 404, /Share type not found/)
  await refused({ share_proto: 'CIFS' }, 400, /Invalid share protocol provided: CIFS/)
  await refused({ size: 0 }, 400, /must be an integer and greater than 0/)
  await refused({ size: 'x' }, 400, /must be an integer/)
  await refused({ size: 5000 }, 400, /the most a share can have/)
  await refused({ availability_zone: 'mars' }, 400, /Availability zone 'mars'/)
  await refused({ share_network_id: 'n1' }, 404, /no share networks/)
  await refused({ snapshot_id: projectId }, 404, /Snapshot .* could not be found/)
  await refused({ name: 'x'.repeat(256) }, 400, /name/)
  await refused({ metadata: { a: '' } }, 400, /metadata/)
  await refused({ is_public: true }, 403, /not authorized/)
  await refused({}, 403, /Policy doesn't allow share:create/, 'reader')
  const after = (await rig.call('GET', '/shares?all_tenants=1', { as: 'admin' })).body.shares.length
  assert.equal(after, before)
})

test('pages begin at their marker, and say how to go on', async () => {
  const as = 'other'
  const made = []
  for (const name of ['p1', 'p2', 'p3']) made.push((await rig.create({ name }, as)).id)
  const first = (await rig.call('GET', '/shares?limit=2&sort_key=name&sort_dir=asc&with_count=true', { as }))
    .body
  assert.deepEqual(
    first.shares.map((share: { name: string }) => share.name),
    ['p1', 'p2'],
  )
  assert.equal(first.count, 3)
  const next = new URL(first.shares_links[0].href)
  const second = await rig.call('GET', `${next.pathname.replace('/share/v2', '')}${next.search}`, { as })
  assert.deepEqual(
    second.body.shares.map((share: { name: string }) => share.name),
    ['p3'],
  )
  const shifted = await rig.call('GET', '/shares?limit=2&offset=2&sort_key=name&sort_dir=asc', { as })
  assert.equal(shifted.body.shares.length, 1)
  const admin = await rig.call('GET', `/shares/detail?all_tenants=1&project_id=${otherProjectId}`, {
    as: 'admin',
  })
  assert.equal(admin.body.shares.length, 3)
  assert.equal((await rig.call('GET', '/shares?marker=nope', { as })).status, 404)
  assert.equal((await rig.call('GET', '/shares?sort_key=colour', { as })).status, 400)
})

test('a share in the URL of another project is refused', async () => {
  assert.equal((await rig.call('GET', `/${projectId}/shares`)).status, 200)
  assert.equal((await rig.call('GET', `/${otherProjectId}/shares`)).status, 400)
})
