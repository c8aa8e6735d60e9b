import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { openVolumeRig, otherProjectId, projectId, type VolumeRig } from './volume-rig.ts'

let rig: VolumeRig
before(async () => {
  rig = await openVolumeRig()
})
after(() => rig.stop())

const admin = (method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown) =>
  rig.call(method, path, { as: 'admin', body })

test('pools with true capacities; names alone without detail', async () => {
  const { id } = await rig.create({ size: 2 })
  const detail = await admin('GET', '/scheduler-stats/get_pools?detail=True')
  const [lma] = detail.body.pools
  assert.equal(lma.name, 'testhost@cinder-lma#127.250.118.49:/cinder_flexvol_OSTK02')
  const { capabilities } = lma
  assert.equal(capabilities.total_capacity_gb, 1024)
  assert.equal(capabilities.free_capacity_gb, 1024)
  assert.equal(capabilities.allocated_capacity_gb, 2)
  assert.equal(capabilities.provisioned_capacity_gb, 2)
  assert.equal(capabilities.max_over_subscription_ratio, '20.0')
  assert.equal(capabilities.backend_state, 'up')
  assert.equal(capabilities.volume_backend_name, 'cinder-lma')
  assert.deepEqual((await admin('GET', '/scheduler-stats/get_pools')).body.pools, [
    { name: lma.name },
    { name: 'testhost@cinder-lmb#127.250.118.51:/cinder_flexvol_OSTK09' },
  ])
  const refused = await rig.call('GET', '/scheduler-stats/get_pools')
  assert.equal(refused.status, 403)
  assert.match(refused.body.forbidden.message, /scheduler_extension:scheduler_stats:get_pools/)
  const capability = await admin('GET', '/capabilities/testhost@cinder-lma')
  assert.equal(capability.body.volume_backend_name, 'cinder-lma')
  await admin('DELETE', `/volumes/${id}`)
})

test('a storage node that does not answer is down, and its pool takes nothing', async () => {
  const node = rig.world.nodes.get('lma-01')
  for (let i = 0; i < 3; i++) node?.failNext('aggregateSpace', new Error('no answer'))
  const services = await admin('GET', '/os-services?binary=cinder-volume')
  assert.deepEqual(
    services.body.services.map((s: Record<string, unknown>) => [s['host'], s['backend_state'], s['state']]),
    [
      ['testhost@cinder-lma', 'down', 'up'],
      ['testhost@cinder-lmb', 'up', 'up'],
    ],
  )
  const pools = await admin('GET', '/scheduler-stats/get_pools?detail=1')
  assert.equal(pools.body.pools[0].capabilities.backend_state, 'down')
  const { id } = await rig.create()
  assert.match((await rig.settle(id, ['available']))?.['os-vol-host-attr:host'] as string, /cinder-lmb/)
  assert.deepEqual(node?.pendingFaults, [])
})

test('services, hosts, zones, extensions', async () => {
  const unknown = await admin('PUT', '/os-services/disable', { host: 'nowhere', binary: 'cinder-volume' })
  assert.equal(unknown.status, 404)
  assert.equal((await admin('PUT', '/os-services/dance', { host: 'x' })).status, 404)
  assert.equal((await rig.call('GET', '/os-services')).status, 403)
  assert.equal((await admin('GET', '/os-hosts')).body.hosts.length, 3)
  assert.equal((await admin('GET', '/os-hosts/testhost@cinder-lma')).status, 200)
  assert.deepEqual((await rig.call('GET', '/os-availability-zone')).body, {
    availabilityZoneInfo: [{ zoneName: 'nova', zoneState: { available: true } }],
  })
  assert.ok((await rig.call('GET', '/extensions')).body.extensions.length > 10)
})

test('volume types: made, changed, shown to those who may, removed when unused', async () => {
  const made = await admin('POST', '/types', {
    volume_type: { name: 'gold', 'os-volume-type-access:is_public': false, extra_specs: { a: 'b' } },
  })
  const { id } = made.body.volume_type
  assert.deepEqual(made.body.volume_type, {
    id,
    name: 'gold',
    is_public: false,
    description: null,
    extra_specs: { a: 'b' },
    'os-volume-type-access:is_public': false,
  })
  assert.equal((await admin('POST', '/types', { volume_type: { name: 'gold' } })).status, 409)
  assert.equal((await rig.call('GET', `/types/${id}`)).status, 404)
  const list = async (as: 'admin' | 'member', query = '') =>
    (await rig.call('GET', `/types${query}`, { as })).body.volume_types.map((t: { name: string }) => t.name)
  assert.deepEqual(await list('member'), ['__DEFAULT__'])
  assert.deepEqual(await list('admin'), ['__DEFAULT__'])
  assert.deepEqual(await list('admin', '?is_public=None'), ['gold', '__DEFAULT__'])
  const access = { addProjectAccess: { project: projectId } }
  assert.equal((await admin('POST', `/types/${id}/action`, access)).status, 202)
  assert.equal((await admin('POST', `/types/${id}/action`, access)).status, 409)
  assert.deepEqual(await list('member'), ['gold', '__DEFAULT__'])
  assert.equal((await rig.call('GET', `/types/${id}`, { as: 'other' })).status, 404)
  assert.deepEqual((await admin('GET', `/types/${id}/os-volume-type-access`)).body.volume_type_access, [
    { volume_type_id: id, project_id: projectId },
  ])
  const { id: volume } = await rig.create({ volume_type: 'gold' })
  const used = await admin('DELETE', `/types/${id}`)
  assert.equal(used.status, 400)
  assert.match(used.body.badRequest.message, /still in use/)
  await admin('DELETE', `/volumes/${volume}`)
  await rig.settle(volume, [])
  assert.equal(
    (await admin('PUT', `/types/${id}`, { volume_type: { name: 'silver' } })).body.volume_type.name,
    'silver',
  )
  assert.equal((await admin('DELETE', `/types/${id}`)).status, 202)
  assert.equal((await admin('GET', `/types/${id}`)).status, 404)
  const standard = (await rig.call('GET', '/types/default')).body.volume_type
  assert.equal(standard.name, '__DEFAULT__')
  assert.equal((await admin('DELETE', `/types/${standard.id}`)).status, 400)
  assert.equal((await rig.call('POST', '/types', { body: { volume_type: { name: 'x' } } })).status, 403)
})

test('extra specs one by one', async () => {
  const { id } = (await admin('POST', '/types', { volume_type: { name: 'specs' } })).body.volume_type
  const path = `/types/${id}/extra_specs`
  assert.deepEqual((await admin('POST', path, { extra_specs: { a: '1', b: '2' } })).body, {
    extra_specs: { a: '1', b: '2' },
  })
  assert.deepEqual((await admin('PUT', `${path}/a`, { a: '3' })).body, { a: '3' })
  assert.equal((await admin('PUT', `${path}/a`, { b: '3' })).status, 400)
  assert.deepEqual((await admin('GET', `${path}/a`)).body, { a: '3' })
  assert.equal((await admin('DELETE', `${path}/b`)).status, 202)
  assert.equal((await admin('DELETE', `${path}/b`)).status, 404)
  assert.deepEqual((await admin('GET', path)).body, { extra_specs: { a: '3' } })
})

test('quotas of a project and of the class default', async () => {
  const set = `/os-quota-sets/${otherProjectId}`
  assert.equal((await admin('GET', set)).body.quota_set.volumes, 10)
  assert.equal((await admin('PUT', set, { quota_set: { volumes: '7' } })).body.quota_set.volumes, 7)
  for (const quota_set of [{ volumes: -2 }, { volumes: 'x' }, { colours: 1 }, {}, { volumes: 2 ** 31 }]) {
    assert.equal((await admin('PUT', set, { quota_set })).status, 400, JSON.stringify(quota_set))
  }
  assert.equal((await rig.call('GET', set)).status, 403)
  const own = await rig.call('GET', `${set}?usage=1`, { as: 'other' })
  assert.deepEqual(own.body.quota_set.volumes, { limit: 7, in_use: 0, reserved: 0 })
  assert.equal((await rig.call('PUT', set, { as: 'other', body: { quota_set: { volumes: 9 } } })).status, 403)
  await admin('PUT', '/os-quota-class-sets/default', { quota_class_set: { snapshots: 99 } })
  assert.equal((await admin('GET', `${set}/defaults`)).body.quota_set.snapshots, 99)
  assert.equal((await admin('DELETE', set)).status, 200)
  assert.equal((await admin('GET', set)).body.quota_set.volumes, 10)
})

test('the attachments API keeps a record from reserved to attached and back', async () => {
  const { id } = await rig.create()
  const body = { attachment: { volume_uuid: id, instance_uuid: 'server-1', connector: null } }
  assert.equal((await rig.call('POST', '/attachments', { body, version: '3.26' })).status, 404)
  const made = await rig.call('POST', '/attachments', { body })
  assert.equal(made.status, 200)
  assert.equal(made.body.attachment.status, 'reserved')
  assert.equal((await rig.settle(id, ['reserved']))?.['status'], 'reserved')
  assert.equal((await rig.call('POST', '/attachments', { body })).status, 400)
  const path = `/attachments/${made.body.attachment.id}`
  const connector = { host: 'somewhere', initiator: 'iqn' }
  const connected = await rig.call('PUT', path, { body: { attachment: { connector } } })
  assert.equal(connected.body.attachment.connection_info.data.volume_id, id)
  assert.equal((await rig.call('POST', `${path}/action`, { body: { 'os-complete': null } })).status, 204)
  const shown = await rig.settle(id, ['in-use'])
  assert.ok(shown)
  const [attachment] = shown['attachments'] as Record<string, unknown>[]
  assert.equal(attachment?.['attachment_id'], made.body.attachment.id)
  assert.equal(attachment?.['host_name'], 'somewhere')
  assert.equal((await rig.call('GET', path, { as: 'other' })).status, 404)
  const list = await rig.call('GET', `/attachments?volume_id=${id}`)
  assert.equal(list.body.attachments.length, 1)
  assert.equal((await rig.call('DELETE', path)).status, 200)
  assert.equal((await rig.settle(id, ['available']))?.['status'], 'available')
})

test('the older actions: reserve, unreserve, begin and roll back a detach', async () => {
  const { id } = await rig.create()
  const act = (name: string, value: unknown = {}) =>
    rig.call('POST', `/volumes/${id}/action`, { body: { [name]: value } })
  assert.equal((await act('os-reserve')).status, 202)
  assert.equal((await act('os-reserve')).status, 400)
  assert.equal((await act('os-unreserve')).status, 202)
  assert.equal((await act('os-attach', { instance_uuid: 's', mountpoint: '/dev/vdb' })).status, 202)
  assert.equal((await act('os-begin_detaching')).status, 202)
  assert.equal((await act('os-roll_detaching')).status, 202)
  assert.equal((await rig.settle(id, ['in-use']))?.['status'], 'in-use')
  assert.equal((await act('os-detach', {})).status, 202)
  const info = await act('os-initialize_connection', { connector: { host: 'h' } })
  assert.equal(info.body.connection_info.driver_volume_type, 'volant')
  assert.equal((await act('os-update_readonly_flag', { readonly: true })).status, 202)
  assert.equal((await act('os-attach', { instance_uuid: 's', mountpoint: '/dev/vdb' })).status, 400)
  assert.equal((await act('os-set_bootable', { bootable: 'True' })).status, 200)
  assert.equal((await rig.settle(id, ['available']))?.['bootable'], 'true')
})

test('the attachment of a running server cannot be ended behind its back', async () => {
  const { id } = await rig.create()
  const attachmentId = await attachToServer(id)
  const act = (body: unknown) => admin('POST', `/volumes/${id}/action`, body)
  for (const body of [
    { 'os-detach': {} },
    { 'os-unreserve': {} },
    { 'os-force_delete': {} },
    { 'os-reset_status': { status: 'available' } },
    { 'os-reset_status': { attach_status: 'detached' } },
  ]) {
    const refused = await act(body)
    assert.equal(refused.status, 400, JSON.stringify(body))
    assert.match(refused.body.badRequest.message, /attached/)
  }
  assert.equal((await admin('DELETE', `/attachments/${attachmentId}`)).status, 409)
  assert.equal((await act({ 'os-reset_status': { status: 'error' } })).status, 202)
  assert.equal((await act({ 'os-reset_status': { status: 'nonsense' } })).status, 400)
  assert.equal((await act({ 'os-reset_status': {} })).status, 400)
})

test('an administrator ends any attachment by force: of a broken volume, and of a server', async () => {
  const { id } = await rig.create()
  const act = (body: unknown, as: 'admin' | 'member' = 'admin') =>
    rig.call('POST', `/volumes/${id}/action`, { as, body })
  await act({ 'os-attach': { instance_uuid: 's', mountpoint: '/dev/vdb' } })
  await act({ 'os-reset_status': { status: 'error' } })
  assert.equal((await act({ 'os-force_detach': {} }, 'member')).status, 403)
  assert.equal((await act({ 'os-force_detach': { connector: null } })).status, 202)
  assert.equal((await rig.settle(id, ['available']))?.['status'], 'available')
  const attachmentId = await attachToServer(id)
  assert.equal((await act({ 'os-force_detach': { attachment_id: attachmentId } })).status, 202)
  await rig.settle(id, ['available'])
  assert.deepEqual(await rig.world.records.attachments.ofVolume(id), [])
})

test('a volume in use grows with its head, and the guest is told', async () => {
  const { id } = await rig.create()
  const attachmentId = await attachToServer(id)
  const host = rig.world.hosts.get('compute-1')
  await host?.ensureGuest(
    { fence: 1 },
    { serverId: 'server-1', name: 's', vcpus: 1, memoryMiB: 64, disks: [], nics: [] },
  )
  const { imageId } = await rig.world.records.volumes.get(id)
  const copy = await rig.world.records.copies.get(imageId as string)
  const image = await rig.world.backend.openFor({ fence: 1 }, copy, 'm1', attachmentId)
  const holders = rig.world.holders.get('m1')
  await holders?.ensureHolder({ fence: 1 }, { holderId: attachmentId, volumeId: id, image, serves: true })
  const disk = { attachmentId, volumeId: id, socketPath: '/s', exportName: 'e', boot: false }
  await host?.ensureDisk({ fence: 1 }, 'server-1', disk)
  const body = { 'os-extend': { new_size: 4 } }
  assert.equal((await rig.call('POST', `/volumes/${id}/action`, { body })).status, 202)
  assert.equal((await rig.settle(id, ['in-use']))?.['size'], 4)
  assert.equal(host?.disksOf('server-1')[0]?.sizeBytes, 4 * 1024 ** 3)
  assert.ok(holders?.calls.includes('ensureSize'))
})

async function attachToServer(volumeId: string): Promise<string> {
  const { attachments, volumes } = rig.world.records
  const id = crypto.randomUUID()
  const at = new Date().toISOString()
  await attachments.create({
    id,
    headId: id,
    volumeId,
    serverId: 'server-1',
    projectId,
    host: 'compute-1',
    status: 'attached',
    shareId: null,
    rootOf: null,
    attachMode: 'rw',
    mountpoint: '/dev/vdb',
    bootIndex: null,
    deleteOnTermination: false,
    connector: null,
    attachedAt: at,
    createdAt: at,
  })
  await volumes.update(volumeId, { status: 'in-use' })
  return id
}
