import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { describeRequest, malformedRequests, type FuzzedRoute } from './malformed.ts'
import { openShareRig, otherHost, type ShareRig } from './share-rig.ts'
import { projectId } from './volume-rig.ts'

let rig: ShareRig
before(async () => {
  rig = await openShareRig()
})
after(() => rig.stop())

test('1,000 malformed requests against every endpoint give no 5xx', async () => {
  const share = (await rig.create({ name: 'n', metadata: { k: 'v' } })).id
  const taken = await rig.call('POST', '/snapshots', { body: { snapshot: { share_id: share, name: 's' } } })
  const snapshot = taken.body.snapshot.id
  await rig.until(`/snapshots/${snapshot}`, 'snapshot', { status: 'available' })
  await rig.idle(`snapshot/${snapshot}`)
  const allowed = await rig.call('POST', `/shares/${share}/action`, {
    body: { allow_access: { access_type: 'ip', access_to: '10.0.0.1', metadata: { k: 'v' } } },
  })
  const rule = allowed.body.access.id
  await rig.until(`/share-access-rules/${rule}`, 'access', { state: 'active' })
  const type = (await rig.call('GET', '/types/default')).body.share_type.id
  const [location] = (await rig.call('GET', `/shares/${share}/export_locations`)).body.export_locations
  const [instance] = (await rig.call('GET', `/shares/${share}/instances`, { as: 'admin' })).body
    .share_instances
  const params = {
    project: projectId,
    target: projectId,
    share,
    snapshot,
    rule,
    type,
    location: location.id,
    instance: instance.id,
  }
  const routes = routesFor(params)
  const statuses = new Map<number, number>()
  for (const as of ['admin', 'member']) {
    const headers = {
      'x-auth-token': as,
      'x-openstack-manila-api-version': as === 'admin' ? '2.98' : '2.75',
      'x-openstack-manila-api-experimental': 'true',
      host: 'volant.test',
    }
    for (const request of malformedRequests(as.length, routes, { count: 1000, headers })) {
      const answer = await rig.app.inject(request)
      assert.ok(answer.statusCode < 500, `${answer.statusCode} ${describeRequest(request)}`)
      statuses.set(answer.statusCode, (statuses.get(answer.statusCode) ?? 0) + 1)
    }
  }
  // The requests reached the handlers, and were not all stopped at the door.
  assert.ok((statuses.get(200) ?? 0) > 50 && (statuses.get(400) ?? 0) > 300, JSON.stringify([...statuses]))
})

const v2 = '/share/v2/:project'

const filters = [
  'status',
  'metadata',
  'name~',
  'description~',
  'host',
  'all_tenants',
  'is_public',
  'share_type_id',
  'snapshot_id',
  'export_location_path',
  'export_location_id',
  'with_count',
  'sort_dir',
  'extra_specs',
  'size',
  'share_id',
]

function routesFor(params: Record<string, string>): FuzzedRoute[] {
  const get = (path: string, query: string[] = []): FuzzedRoute => ({
    method: 'GET',
    path: v2 + path,
    query,
    params,
  })
  const send = (method: 'POST' | 'PUT', path: string, body: unknown): FuzzedRoute => ({
    method,
    path: v2 + path,
    body,
    params,
  })
  return [
    { method: 'GET', path: '/share/' },
    { method: 'GET', path: '/share/v2/' },
    ...reads(get),
    ...writes(send, params),
    ...actions(send, params),
    { method: 'DELETE', path: `${v2}/types/:unknown`, params },
    { method: 'DELETE', path: `${v2}/shares/:unknown`, params, query: ['share_group_id'] },
    { method: 'DELETE', path: `${v2}/shares/:share/metadata/:key`, params },
    { method: 'DELETE', path: `${v2}/share-access-rules/:rule/metadata/:key`, params },
    { method: 'DELETE', path: `${v2}/quota-sets/:target`, params, query: ['user_id', 'share_type'] },
    { method: 'DELETE', path: `${v2}/messages/:unknown`, params },
  ]
}

const reads = (get: (path: string, query?: string[]) => FuzzedRoute): FuzzedRoute[] => [
  get('/shares', filters),
  get('/shares/detail', filters),
  get('/shares/:share'),
  get('/shares/:share/metadata'),
  get('/shares/:share/metadata/:key'),
  get('/shares/:share/export_locations'),
  get('/shares/:share/export_locations/:location'),
  get('/shares/:share/instances'),
  get('/shares/:share/migration-progress'),
  get('/share_instances', ['export_location_path']),
  get('/share_instances/:instance'),
  get('/share_instances/:instance/export_locations/:location'),
  get('/share-access-rules', ['share_id', 'metadata', 'access_to']),
  get('/share-access-rules/:rule'),
  get('/snapshots', filters),
  get('/snapshots/detail', filters),
  get('/snapshots/:snapshot'),
  get('/snapshots/:snapshot/metadata/:key'),
  get('/snapshots/:snapshot/export-locations/:location'),
  get('/types', ['is_public', 'extra_specs']),
  get('/types/:type'),
  get('/types/:type/extra_specs/:key'),
  get('/types/:type/share_type_access'),
  get('/scheduler-stats/pools', ['host', 'backend', 'pool', 'share_type', 'capabilities']),
  get('/scheduler-stats/pools/detail', ['host', 'pool', 'share_type']),
  get('/services', ['host', 'binary', 'state']),
  get('/quota-sets/:target', ['user_id', 'share_type']),
  get('/quota-sets/:target/detail', ['user_id', 'share_type']),
  get('/quota-class-sets/:target'),
  get('/limits'),
  get('/messages', ['resource_id', 'created_since', 'created_before', 'message_level']),
  get('/messages/:id'),
  get('/share-networks/:id'),
  get('/availability-zones'),
]

function writes(
  send: (method: 'POST' | 'PUT', path: string, body: unknown) => FuzzedRoute,
  params: Record<string, string>,
): FuzzedRoute[] {
  return [
    send('POST', '/shares', {
      share: {
        size: 1,
        share_proto: 'NFS',
        name: 'n',
        description: 'd',
        share_type: 'default',
        availability_zone: 'nova',
        metadata: { k: 'v' },
        snapshot_id: null,
        is_public: false,
        share_network_id: null,
        scheduler_hints: {},
      },
    }),
    send('PUT', '/shares/:share', {
      share: { display_name: 'n', display_description: 'd', is_public: false },
    }),
    send('POST', '/shares/:share/metadata', { metadata: { k: 'v' } }),
    send('PUT', '/shares/:share/metadata/:key', { meta: { k: 'v' } }),
    send('POST', '/snapshots', {
      snapshot: {
        share_id: params['share'],
        name: 'n',
        description: 'd',
        force: false,
        metadata: { k: 'v' },
      },
    }),
    send('PUT', '/snapshots/:snapshot', { snapshot: { display_name: 'n', display_description: 'd' } }),
    send('POST', '/snapshots/:snapshot/metadata', { metadata: { k: 'v' } }),
    send('PUT', '/share-access-rules/:rule', { update_access: { access_level: 'ro' } }),
    send('PUT', '/share-access-rules/:rule/metadata', { metadata: { k: 'v' } }),
    send('POST', '/types', {
      share_type: {
        name: 'n',
        description: 'd',
        extra_specs: { driver_handles_share_servers: 'False', snapshot_support: true },
        'share_type_access:is_public': true,
      },
    }),
    send('PUT', '/types/:type', { share_type: { name: 'default', description: 'd' } }),
    send('POST', '/types/:type/extra_specs', { extra_specs: { k: 'v' } }),
    send('PUT', '/types/:type/extra_specs/:key', { k: 'v' }),
    send('POST', '/types/:type/action', { addProjectAccess: { project: 'p' } }),
    send('PUT', '/services/:action', { host: 'h', binary: 'manila-share', disabled_reason: 'r' }),
    send('PUT', '/quota-sets/:target', { quota_set: { shares: 1000, gigabytes: -1, force: true } }),
    send('PUT', '/quota-class-sets/:target', { quota_class_set: { shares: 1000 } }),
    send('POST', '/share-networks', { share_network: { name: 'n' } }),
    send('POST', '/shares/manage', { share: { service_host: 'h@b#p', export_path: 'x', protocol: 'NFS' } }),
  ]
}

function actions(
  send: (method: 'POST' | 'PUT', path: string, body: unknown) => FuzzedRoute,
  params: Record<string, string>,
): FuzzedRoute[] {
  const bodies = [
    { extend: { new_size: 2, force: false } },
    { shrink: { new_size: 1 } },
    {
      allow_access: { access_type: 'ip', access_to: '10.0.0.0/24', access_level: 'ro', metadata: { k: 'v' } },
    },
    { deny_access: { access_id: 'x' } },
    { reset_status: { status: 'available' } },
    { reset_task_state: { task_state: 'none' } },
    { revert: { snapshot_id: params['snapshot'] } },
    {
      migration_start: {
        host: otherHost,
        force_host_assisted_migration: false,
        preserve_metadata: true,
        preserve_snapshots: true,
        writable: true,
        nondisruptive: true,
        new_share_network_id: null,
        new_share_type_id: null,
      },
    },
    { migration_complete: null },
    { migration_cancel: null },
    { migration_get_progress: null },
  ]
  return [
    ...bodies.map((body) => send('POST', '/shares/:share/action', body)),
    send('POST', '/snapshots/:snapshot/action', { reset_status: { status: 'available' } }),
    send('POST', '/share_instances/:instance/action', { reset_status: { status: 'available' } }),
  ]
}
