import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { openVolumeRig, otherProjectId, projectId, type VolumeRig } from './volume-rig.ts'

let rig: VolumeRig
before(async () => {
  rig = await openVolumeRig()
})
after(() => rig.stop())

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/

test('version discovery needs no token and answers 300 at the root', async () => {
  const answer = await rig.app.inject({ url: '/volume/', headers: { host: 'h:1' } })
  assert.equal(answer.statusCode, 300)
  const [version] = answer.json<{ versions: Record<string, unknown>[] }>().versions
  assert.equal(version?.['version'], '3.70')
  assert.equal(version?.['min_version'], '3.0')
  assert.match(JSON.stringify(version?.['links']), /http:\/\/h:1\/volume\/v3\//)
})

test('the microversion is echoed; one that is unknown is 406 and a malformed one 400', async () => {
  const answer = await rig.call('GET', '/volumes', { version: '3.42' })
  assert.equal(answer.headers['openstack-api-version'], 'volume 3.42')
  assert.equal(answer.headers['vary'], 'OpenStack-API-Version')
  assert.equal((await rig.call('GET', '/volumes', { version: '3.71' })).status, 406)
  assert.equal((await rig.call('GET', '/volumes', { version: 'x' })).status, 400)
})

test('a volume goes from creating to available, in the first pool of the configuration', async () => {
  const made = await rig.call('POST', '/volumes', {
    as: 'admin',
    body: {
      volume: {
        size: 1,
        consistencygroup_id: null,
        snapshot_id: null,
        name: 'vol3',
        description: null,
        volume_type: null,
        availability_zone: null,
        metadata: {},
        imageRef: null,
        source_volid: null,
        backup_id: null,
      },
    },
  })
  assert.equal(made.status, 202)
  const { volume } = made.body
  assert.match(volume.id, uuid)
  assert.match(volume.created_at, time)
  // The keys and their order are those of a real Cinder's answer.
  assert.deepEqual(Object.keys(volume), createKeys)
  assert.equal(volume.status, 'creating')
  assert.equal(volume.bootable, 'false')
  assert.equal(volume.volume_type, '__DEFAULT__')
  const whole = await rig.settle(volume.id, ['available'])
  assert.ok(whole)
  assert.deepEqual(Object.keys(whole), [
    ...createKeys,
    'os-vol-tenant-attr:tenant_id',
    'os-vol-mig-status-attr:migstat',
    'os-vol-mig-status-attr:name_id',
    'os-vol-host-attr:host',
  ])
  assert.equal(whole['os-vol-host-attr:host'], 'testhost@cinder-lma#127.250.118.49:/cinder_flexvol_OSTK02')
  assert.equal(whole['shared_targets'], false)
  assert.match(String(whole['service_uuid']), uuid)
  assert.equal(rig.world.nodes.get('lma-01')?.images.size, 1)
})

test('the next volume goes to the pool with more room', async () => {
  const { id } = await rig.create()
  const shown = await rig.call('GET', `/volumes/${id}`, { as: 'admin' })
  assert.match(shown.body.volume['os-vol-host-attr:host'], /cinder-lmb/)
})

test('a project sees its volumes without the administrator’s attributes, and not those of others', async () => {
  const { id } = await rig.create({ name: 'mine' })
  const shown = await rig.call('GET', `/volumes/${id}`)
  assert.equal(shown.body.volume['os-vol-host-attr:host'], undefined)
  assert.equal('migration_status' in shown.body.volume, false)
  const foreign = await rig.call('GET', `/volumes/${id}`, { as: 'other' })
  assert.equal(foreign.status, 404)
  assert.deepEqual(foreign.body, {
    itemNotFound: { code: 404, message: `Volume ${id} could not be found.` },
  })
  assert.equal((await rig.call('DELETE', `/volumes/${id}`, { as: 'other' })).status, 404)
  const list = await rig.call('GET', '/volumes/detail?all_tenants=1', { as: 'other' })
  assert.deepEqual(list.body, { volumes: [] })
})

test('a URL of another project is refused, and so is no token', async () => {
  const answer = await rig.call('GET', '/volumes', { project: otherProjectId })
  assert.equal(answer.status, 400)
  assert.match(answer.body.badRequest.message, /Malformed request url/)
  const nobody = await rig.app.inject({
    url: `/volume/v3/${projectId}/volumes`,
    headers: { host: 'h:1' },
  })
  assert.equal(nobody.statusCode, 401)
  assert.match(String(nobody.headers['www-authenticate']), /^Keystone uri="http:\/\/h:1\/identity"/)
})

test('a reader may look and not touch', async () => {
  const { id } = await rig.create()
  assert.equal((await rig.call('GET', `/volumes/${id}`, { as: 'reader' })).status, 200)
  const refused = await rig.call('POST', '/volumes', { as: 'reader', body: { volume: { size: 1 } } })
  assert.equal(refused.status, 403)
  assert.match(refused.body.forbidden.message, /volume:create/)
  assert.equal((await rig.call('DELETE', `/volumes/${id}`, { as: 'reader' })).status, 403)
  const move = await rig.call('POST', `/volumes/${id}/action`, {
    body: { 'os-migrate_volume': { host: 'a@b#c' } },
  })
  assert.equal(move.status, 403)
  assert.match(move.body.forbidden.message, /volume_admin_actions:migrate_volume/)
})

test('delete removes image, copy and record', async () => {
  const { id } = await rig.create()
  const volume = await rig.world.records.volumes.get(id)
  assert.ok(volume.imageId)
  const gone = await rig.call('DELETE', `/volumes/${id}`)
  assert.equal(gone.status, 202)
  assert.equal(await rig.settle(id, []), undefined)
  assert.deepEqual(await rig.world.records.copies.ofVolume(id), [])
  for (const node of rig.world.nodes.values()) assert.equal(node.images.has(volume.imageId), false)
})

test('a volume in use is not deleted, nor extended before 3.42', async () => {
  const { id } = await rig.create()
  const attached = await rig.call('POST', `/volumes/${id}/action`, {
    body: { 'os-attach': { instance_uuid: 'server-9', mountpoint: '/dev/vdc' } },
  })
  assert.equal(attached.status, 202)
  const shown = await rig.call('GET', `/volumes/${id}`, { as: 'admin' })
  const [attachment] = shown.body.volume.attachments
  assert.equal(shown.body.volume.status, 'in-use')
  assert.deepEqual(Object.keys(attachment), [
    'id',
    'attachment_id',
    'volume_id',
    'server_id',
    'host_name',
    'device',
    'attached_at',
  ])
  assert.equal(attachment.id, id)
  assert.equal(attachment.server_id, 'server-9')
  for (const path of [`/volumes/${id}`, `/volumes/${id}?force=true`]) {
    const refused = await rig.call('DELETE', path, { as: 'admin' })
    assert.equal(refused.status, 400)
    assert.match(refused.body.badRequest.message, /still attached, detach volume first/)
  }
  const old = await rig.call('POST', `/volumes/${id}/action`, {
    version: '3.41',
    body: { 'os-extend': { new_size: 2 } },
  })
  assert.equal(old.status, 400)
  assert.match(old.body.badRequest.message, /status must be 'available' to extend, currently in-use/)
  const detached = await rig.call('POST', `/volumes/${id}/action`, { body: { 'os-detach': {} } })
  assert.equal(detached.status, 202)
  assert.equal((await rig.settle(id, ['available']))?.['status'], 'available')
})

test('extend grows image, copy and record; never shrinks', async () => {
  const { id } = await rig.create()
  const less = await rig.call('POST', `/volumes/${id}/action`, { body: { 'os-extend': { new_size: 1 } } })
  assert.equal(less.status, 400)
  assert.match(less.body.badRequest.message, /must be greater than current size. \(current: 1, extended: 1\)/)
  const more = await rig.call('POST', `/volumes/${id}/action`, { body: { 'os-extend': { new_size: 3 } } })
  assert.equal(more.status, 202)
  const grown = await rig.settle(id, ['available'])
  assert.equal(grown?.['size'], 3)
  const { imageId } = await rig.world.records.volumes.get(id)
  const copy = await rig.world.records.copies.get(imageId as string)
  assert.equal(copy.sizeBytes, 3 * 1024 ** 3)
  assert.equal((await rig.world.backend.imageInfo(copy))?.sizeBytes, 3 * 1024 ** 3)
})

test('metadata is merged, replaced, shown and removed by key', async () => {
  const { id } = await rig.create({ metadata: { a: '1' } })
  const path = `/volumes/${id}/metadata`
  const merged = await rig.call('POST', path, { body: { metadata: { b: '2' } } })
  assert.deepEqual(merged.body, { metadata: { a: '1', b: '2' } })
  const replaced = await rig.call('PUT', path, { body: { metadata: { c: '3' } } })
  assert.deepEqual(replaced.body, { metadata: { c: '3' } })
  assert.deepEqual((await rig.call('GET', `${path}/c`)).body, { meta: { c: '3' } })
  assert.equal((await rig.call('PUT', `${path}/c`, { body: { meta: { d: '4' } } })).status, 400)
  assert.equal((await rig.call('DELETE', `${path}/c`)).status, 200)
  assert.equal((await rig.call('DELETE', `${path}/c`)).status, 404)
  const long = await rig.call('POST', path, { body: { metadata: { k: 'v'.repeat(256) } } })
  assert.equal(long.status, 400)
  const many = Object.fromEntries(Array.from({ length: 129 }, (_, i) => [`k${i}`, 'v']))
  assert.equal((await rig.call('POST', path, { body: { metadata: many } })).status, 400)
})

test('update changes name and description alone', async () => {
  const { id } = await rig.create({ name: 'before' })
  const updated = await rig.call('PUT', `/volumes/${id}`, {
    body: { volume: { name: ' naïve 体积 ', description: 'x' } },
  })
  assert.equal(updated.status, 200)
  assert.equal(updated.body.volume.name, 'naïve 体积')
  assert.equal((await rig.call('PUT', `/volumes/${id}`, { body: { volume: { size: 3 } } })).status, 400)
  const bad = await rig.call('PUT', `/volumes/${id}`, { body: { volume: { name: 'a\nb' } } })
  assert.equal(bad.status, 400)
  assert.match(bad.body.badRequest.message, /name/)
})

test('the action of migration reaches its port with its arguments, as texts too', async () => {
  const { id } = await rig.create()
  const body = { 'os-migrate_volume': { host: 'h@b#p', force_host_copy: 'True', lock_volume: false } }
  const answer = await rig.call('POST', `/volumes/${id}/action`, { as: 'admin', body })
  assert.equal(answer.status, 202)
  assert.deepEqual(rig.migrations.started.at(-1), {
    volumeId: id,
    host: 'h@b#p',
    forceHostCopy: true,
    lockVolume: false,
  })
})

test('unknown actions, bodies and routes are the client’s fault', async () => {
  const { id } = await rig.create()
  for (const body of [{}, { nothing: {} }, { 'os-reserve': {}, 'os-unreserve': {} }, [], 7]) {
    const answer = await rig.call('POST', `/volumes/${id}/action`, { body })
    assert.equal(answer.status, 400, JSON.stringify(body))
  }
  assert.equal((await rig.call('GET', '/nonsense')).status, 404)
  assert.equal((await rig.call('GET', '/volumes/')).status, 404)
  const text = await rig.app.inject({
    method: 'POST',
    url: `/volume/v3/${projectId}/volumes`,
    headers: { host: 'h', 'x-auth-token': 'member', 'content-type': 'application/json' },
    payload: '{"volume": ',
  })
  assert.equal(text.statusCode, 400)
  assert.match(text.json<{ badRequest: { message: string } }>().badRequest.message, /not JSON/)
  const large = await rig.app.inject({
    method: 'POST',
    url: `/volume/v3/${projectId}/volumes`,
    headers: { host: 'h', 'x-auth-token': 'member', 'content-type': 'application/json' },
    payload: JSON.stringify({ volume: { size: 1, name: 'x'.repeat(1_100_000) } }),
  })
  assert.equal(large.statusCode, 413)
  assert.ok(large.json<{ overLimit: object }>().overLimit)
})

test('a size that is no size is refused with what would be right', async () => {
  for (const size of [0, -1, 1.5, 'x', '', true, {}, 1e30, '99999999999999999999']) {
    const answer = await rig.call('POST', '/volumes', { body: { volume: { size } } })
    assert.equal(answer.status, 400, JSON.stringify(size))
    assert.match(answer.body.badRequest.message, /size/i)
  }
  const none = await rig.call('POST', '/volumes', { body: { volume: { name: 'x' } } })
  assert.match(none.body.badRequest.message, /must be an integer and greater than 0/)
})

test('what is not supported says so', async () => {
  const backup = await rig.call('POST', '/volumes', { body: { volume: { size: 1, backup_id: 'x' } } })
  assert.match(backup.body.badRequest.message, /Backups are not supported/)
  const multi = await rig.call('POST', '/volumes', { body: { volume: { size: 1, multiattach: true } } })
  assert.match(multi.body.badRequest.message, /Multiattach/)
  assert.deepEqual((await rig.call('GET', '/backups')).body, { backups: [] })
  const made = await rig.call('POST', '/backups', { body: { backup: { volume_id: 'x' } } })
  assert.equal(made.status, 400)
  assert.match(made.body.badRequest.message, /Make a snapshot/)
  assert.equal((await rig.call('GET', '/backups/abc')).status, 404)
})

const createKeys = [
  'id',
  'status',
  'size',
  'availability_zone',
  'created_at',
  'updated_at',
  'name',
  'description',
  'volume_type',
  'snapshot_id',
  'source_volid',
  'metadata',
  'links',
  'user_id',
  'bootable',
  'encrypted',
  'replication_status',
  'consistencygroup_id',
  'multiattach',
  'attachments',
  'migration_status',
  'group_id',
  'provider_id',
  'shared_targets',
  'service_uuid',
  'cluster_name',
  'volume_type_id',
  'consumes_quota',
]
