import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { describeRequest, malformedRequests, type FuzzedRoute } from './malformed.ts'
import { openVolumeRig, projectId, type VolumeRig } from './volume-rig.ts'

let rig: VolumeRig
before(async () => {
  rig = await openVolumeRig()
})
after(() => rig.stop())

test('1,000 malformed requests against every endpoint give no 5xx', async () => {
  const volume = (await rig.create()).id
  const type = (await rig.call('GET', '/types/default')).body.volume_type.id
  const made = await rig.call('POST', '/attachments', {
    body: { attachment: { volume_uuid: (await rig.create()).id } },
  })
  const taken = await rig.call('POST', '/snapshots', { body: { snapshot: { volume_id: volume } } })
  const snapshot = taken.body.snapshot.id
  const params = {
    project: projectId,
    volume,
    snapshot,
    type,
    attachment: made.body.attachment.id,
    target: projectId,
  }
  const routes = routesFor(params)
  const statuses = new Map<number, number>()
  for (const as of ['admin', 'member']) {
    const headers = { 'x-auth-token': as, 'openstack-api-version': 'volume 3.70', host: 'volant.test' }
    for (const request of malformedRequests(as.length, routes, { count: 1000, headers })) {
      const answer = await rig.app.inject(request)
      assert.ok(answer.statusCode < 500, `${answer.statusCode} ${describeRequest(request)}`)
      statuses.set(answer.statusCode, (statuses.get(answer.statusCode) ?? 0) + 1)
    }
  }
  // The requests reached the handlers, and were not all stopped at the door.
  assert.ok((statuses.get(200) ?? 0) > 50 && (statuses.get(400) ?? 0) > 300, JSON.stringify([...statuses]))
})

const v3 = '/volume/v3/:project'

function routesFor(params: Record<string, string>): FuzzedRoute[] {
  const filters = [
    'status',
    'metadata',
    'bootable',
    'created_at',
    'all_tenants',
    'host',
    'size',
    'name~',
    'with_count',
  ]
  const get = (path: string, query: string[] = []): FuzzedRoute => ({
    method: 'GET',
    path: v3 + path,
    query,
    params,
  })
  const send = (method: 'POST' | 'PUT', path: string, body: unknown): FuzzedRoute => ({
    method,
    path: v3 + path,
    body,
    params,
  })
  const action = (body: unknown) => send('POST', '/volumes/:volume/action', body)
  return [
    { method: 'GET', path: '/volume/' },
    get('/volumes', filters),
    get('/volumes/detail', filters),
    get('/volumes/summary', filters),
    get('/volumes/:volume'),
    get('/volumes/:volume/metadata'),
    get('/volumes/:volume/metadata/:key'),
    get('/attachments/detail', ['volume_id', 'all_tenants', 'status']),
    get('/attachments/:attachment'),
    get('/types', ['is_public', 'extra_specs']),
    get('/types/:type'),
    get('/types/:type/extra_specs/:key'),
    get('/scheduler-stats/get_pools', ['detail']),
    get('/capabilities/:host'),
    get('/os-services', ['host', 'binary']),
    get('/os-hosts/:host'),
    get('/os-quota-sets/:target', ['usage']),
    get('/messages'),
    get('/messages/:id'),
    get('/snapshots', filters),
    get('/snapshots/detail', filters),
    get('/snapshots/:snapshot'),
    get('/snapshots/:snapshot/metadata'),
    get('/snapshots/:snapshot/metadata/:key'),
    get('/limits'),
    send('POST', '/volumes', {
      volume: {
        size: 1,
        name: 'n',
        description: 'd',
        volume_type: '__DEFAULT__',
        availability_zone: 'nova',
        metadata: { k: 'v' },
        imageRef: null,
        source_volid: null,
        snapshot_id: null,
        multiattach: false,
      },
    }),
    send('PUT', '/volumes/:volume', { volume: { name: 'n', description: 'd', metadata: { k: 'v' } } }),
    send('POST', '/snapshots', {
      snapshot: {
        volume_id: params['volume'],
        name: 'n',
        description: 'd',
        force: true,
        metadata: { k: 'v' },
      },
    }),
    send('PUT', '/snapshots/:snapshot', { snapshot: { name: 'n', description: 'd' } }),
    send('POST', '/snapshots/:snapshot/metadata', { metadata: { k: 'v' } }),
    send('PUT', '/snapshots/:snapshot/metadata/:key', { meta: { k: 'v' } }),
    send('POST', '/snapshots/:snapshot/action', { 'os-reset_status': { status: 'available' } }),
    action({ revert: { snapshot_id: params['snapshot'] } }),
    send('POST', '/volumes/:volume/metadata', { metadata: { k: 'v' } }),
    send('PUT', '/volumes/:volume/metadata/:key', { meta: { k: 'v' } }),
    action({ 'os-extend': { new_size: 2 } }),
    action({
      'os-reset_status': { status: 'available', attach_status: 'detached', migration_status: 'none' },
    }),
    action({ 'os-migrate_volume': { host: 'h@b#p', force_host_copy: false, lock_volume: false } }),
    action({ 'os-retype': { new_type: 't', migration_policy: 'never' } }),
    action({ 'os-attach': { instance_uuid: 'x', mountpoint: '/dev/vdb', mode: 'rw', host_name: 'h' } }),
    action({ 'os-detach': { attachment_id: 'x' } }),
    action({ 'os-set_image_metadata': { metadata: { k: 'v' } } }),
    action({ 'os-initialize_connection': { connector: { host: 'h' } } }),
    action({ 'os-update_readonly_flag': { readonly: true } }),
    action({ 'os-volume_upload_image': { image_name: 'n', disk_format: 'raw', force: false } }),
    send('POST', '/attachments', {
      attachment: { volume_uuid: 'x', instance_uuid: 'y', connector: { host: 'h' }, mode: 'rw' },
    }),
    send('PUT', '/attachments/:attachment', { attachment: { connector: { host: 'h' } } }),
    send('POST', '/types', { volume_type: { name: 'n', description: 'd', extra_specs: { k: 'v' } } }),
    send('PUT', '/types/:type', { volume_type: { name: 'n', is_public: true } }),
    send('POST', '/types/:type/extra_specs', { extra_specs: { k: 'v' } }),
    send('POST', '/types/:type/action', { addProjectAccess: { project: 'p' } }),
    send('PUT', '/os-services/:action', { host: 'h', binary: 'cinder-volume', disabled_reason: 'r' }),
    send('PUT', '/os-quota-sets/:target', { quota_set: { volumes: 1000, gigabytes: -1 } }),
    send('PUT', '/os-quota-class-sets/:target', { quota_class_set: { volumes: 1000 } }),
    send('POST', '/snapshots', { snapshot: { volume_id: 'v' } }),
    { method: 'DELETE', path: `${v3}/types/:unknown`, params },
    { method: 'DELETE', path: `${v3}/volumes/:unknown`, params, query: ['force', 'cascade'] },
  ]
}
