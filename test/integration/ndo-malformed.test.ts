import assert from 'node:assert/strict'
import { test } from 'node:test'
import { adminToken, openPlane } from '../migration/plane.ts'
import { describeRequest, malformedRequests, type FuzzedRoute } from './malformed.ts'

/** Every endpoint of `/ndo/v1` over real HTTP, on a volume and an operation that exist. */
const routes = (volume: string, id: string, host: string): FuzzedRoute[] => [
  { method: 'GET', path: '/ndo/v1/status' },
  { method: 'GET', path: '/ndo/v1/operations', query: ['state', 'kind', 'resource', 'limit', 'marker'] },
  { method: 'GET', path: '/ndo/v1/operations/:id', params: { id } },
  { method: 'GET', path: '/ndo/v1/operations/:id/history', params: { id } },
  { method: 'GET', path: '/ndo/v1/history', query: ['since', 'limit', 'marker'] },
  { method: 'POST', path: '/ndo/v1/operations/:id/pause', params: { id } },
  { method: 'POST', path: '/ndo/v1/operations/:id/resume', params: { id } },
  { method: 'POST', path: '/ndo/v1/operations/:id/cancel', params: { id } },
  { method: 'POST', path: '/ndo/v1/operations/:id/undo', params: { id }, body: { dry_run: true } },
  { method: 'POST', path: '/ndo/v1/operations/:id/skip', params: { id } },
  { method: 'POST', path: '/ndo/v1/operations/:id/decide', params: { id }, body: { happened: true } },
  { method: 'PUT', path: '/ndo/v1/operations/:id/rate', params: { id }, body: { bytes_per_second: 1000 } },
  {
    method: 'PUT',
    path: '/ndo/v1/operations/:id/pace',
    params: { id },
    body: { pace: '2x', priority: 'low' },
  },
  {
    method: 'POST',
    path: '/ndo/v1/migrations',
    body: { volume, host, dry_run: true, rate: 1, pace: '5ms', priority: 'high' },
  },
  { method: 'GET', path: '/ndo/v1/sweep' },
  { method: 'POST', path: '/ndo/v1/sweep', body: { dry_run: true } },
  { method: 'GET', path: '/ndo/v1/volumes/:id/placement', params: { id: volume } },
]

test('1,000 malformed requests to /ndo/v1 give no 5xx', async (t) => {
  const plane = await openPlane()
  t.after(() => plane.close())
  const { client } = plane
  const volume = await client.volume.create({ name: 'data', size: 1 })
  const { operations } = await client.ndo.operations()
  const [pool] = await client.volume.pools()
  assert.ok(operations[0] && pool)
  const token = await adminToken(plane)
  let answered = 0
  const all = routes(volume.id, operations[0].id, pool.name)
  for (const request of malformedRequests(20261122, all, {
    count: 1000,
    headers: { 'x-auth-token': token },
  })) {
    const { method, headers, payload } = request
    // What fetch itself refuses (a header or a URL that can't be sent) never reaches the server.
    const response = await fetch(client.session.url + request.url, {
      method,
      headers,
      ...(payload === undefined || method === 'GET' ? {} : { body: payload }),
    }).catch(() => undefined)
    if (response === undefined) continue
    answered += 1
    await response.body?.cancel()
    assert.ok(response.status < 500, `${response.status}: ${describeRequest(request)}`)
  }
  assert.ok(answered > 700, `${answered} requests were answered`)
  assert.equal((await client.ndo.status()).host, pool.name.split('@')[0], 'it serves on')
})
