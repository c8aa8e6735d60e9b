import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { describeRequest, malformedRequests, type FuzzedRoute } from './malformed.ts'
import { aggregateUuid, openOntapRig, password, svm, type OntapRig } from './ontap-rig.ts'

let rig: OntapRig
before(async () => {
  rig = await openOntapRig()
})
after(() => rig.stop())

test('1,500 malformed requests against every endpoint give no 5xx, and errors in ONTAP’s form', async () => {
  const headers = { authorization: `Basic ${Buffer.from(`admin:${password}`).toString('base64')}`, host: 'c' }
  const statuses = new Map<number, number>()
  for (const request of malformedRequests(4, routes(), { count: 1500, headers })) {
    const answer = await rig.app.inject(request)
    assert.ok(answer.statusCode < 500, `${answer.statusCode} ${describeRequest(request)}`)
    if (answer.statusCode >= 400 && request.method !== 'HEAD') {
      const { error } = answer.json() as { error: { code: string; message: string } }
      assert.match(error.code, /^\d+$/, describeRequest(request))
      assert.ok(error.message !== '', describeRequest(request))
    }
    statuses.set(answer.statusCode, (statuses.get(answer.statusCode) ?? 0) + 1)
  }
  // The requests reached the handlers, and were not all stopped at the door.
  const shown = JSON.stringify([...statuses])
  assert.ok((statuses.get(200) ?? 0) > 50 && (statuses.get(400) ?? 0) > 300, shown)
  assert.equal(statuses.get(401), undefined, shown)
})

function routes(): FuzzedRoute[] {
  const params = { volume: rig.world.lma.id, aggregate: aggregateUuid('aggr1') }
  const query = [
    'fields',
    'order_by',
    'max_records',
    'return_records',
    'return_timeout',
    'start.index',
    'space.size',
    'ignore_unknown_fields',
    'validate_only',
  ]
  const get = (path: string): FuzzedRoute => ({ method: 'GET', path: `/api${path}`, params, query })
  const send = (method: 'POST' | 'PATCH' | 'DELETE', path: string, body?: unknown): FuzzedRoute => ({
    method,
    path: `/api${path}`,
    params,
    query: query.filter((name) => name !== 'return_timeout'),
    ...(body !== undefined && { body }),
  })
  const movement = {
    destination_aggregate: { name: 'aggr2', uuid: aggregateUuid('aggr2') },
    state: 'replicating',
    cutover_window: 30,
    cutover_action: 'retry_on_failure',
  }
  return [
    get('/cluster'),
    get('/cluster/nodes'),
    get('/cluster/jobs'),
    get('/cluster/jobs/:id'),
    get('/storage/aggregates'),
    get('/storage/aggregates/:aggregate'),
    get('/storage/volumes'),
    get('/storage/volumes/:volume'),
    get('/storage/volumes/:volume/snapshots'),
    get('/storage/volumes/:volume/files'),
    get('/storage/disks'),
    get('/storage/qos/policies'),
    get('/snapmirror/relationships'),
    get('/svm/svms'),
    get('/network/ip/interfaces'),
    { method: 'HEAD', path: '/api/storage/volumes', query },
    send('POST', '/storage/aggregates', {
      name: 'aggr9',
      node: { name: 'lma-01' },
      space: { block_storage: { size: '1GB' } },
    }),
    send('DELETE', '/storage/aggregates/:aggregate'),
    send('POST', '/storage/volumes', {
      name: 'made',
      svm: { name: svm },
      aggregates: [{ name: 'aggr1' }],
      nas: { path: '/made' },
      size: 2 ** 30,
      guarantee: { type: 'none' },
    }),
    send('PATCH', '/storage/volumes/:volume', { size: 2 ** 30, name: 'n', nas: { path: '/n' } }),
    send('PATCH', '/storage/volumes/:volume', { movement }),
    send('PATCH', '/storage/volumes?name=cinder_flexvol_OSTK02', { 'movement.state': 'cutover' }),
    send('DELETE', '/storage/volumes/:volume'),
    send('POST', '/storage/volumes/:volume/snapshots', { name: 's' }),
    send('PATCH', '/cluster/jobs/:id', { action: 'cancel' }),
    send('POST', '/support/ems/application-logs', { event_source: 'x', severity: 'notice', event_id: 0 }),
  ]
}
