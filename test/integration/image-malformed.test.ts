import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { pino } from 'pino'
import { identityRig, type IdentityRig } from '../../packages/control/src/http/identity/testing.ts'
import { createImages } from '../../packages/control/src/http/image/service.ts'
import { describeRequest, malformedRequests, type FuzzedRoute } from './malformed.ts'

let rig: IdentityRig
before(async () => {
  rig = await identityRig(async ({ db, identity, stateDir, clock }) => {
    const log = pino({ level: 'silent' })
    return [(await createImages({ db, stateDir, clock, log, tokens: identity.tokens })).service]
  })
})
after(() => rig.close())

const filters = [
  'name',
  'status',
  'owner',
  'visibility',
  'size_min',
  'created_at',
  'sort_dir',
  'tag',
  'protected',
  'id',
]
const list = '/image/v2/images'

const routes = (image: string): FuzzedRoute[] => [
  { method: 'GET', path: '/image' },
  { method: 'GET', path: list, query: filters },
  {
    method: 'POST',
    path: list,
    body: {
      name: 'i',
      disk_format: 'raw',
      container_format: 'bare',
      visibility: 'private',
      min_disk: 1,
      min_ram: 1,
      protected: false,
      tags: ['t'],
      os_distro: 'debian',
    },
  },
  { method: 'GET', path: `${list}/:image`, params: { image } },
  {
    method: 'PATCH',
    path: `${list}/:image`,
    params: { image },
    headers: { 'content-type': 'application/openstack-images-v2.1-json-patch' },
    body: [
      { op: 'replace', path: '/name', value: 'x' },
      { op: 'add', path: '/os_version', value: '12' },
      { op: 'remove', path: '/os_version' },
      { op: 'replace', path: '/tags', value: ['a'] },
      { op: 'replace', path: '/min_disk', value: 3 },
    ],
  },
  { method: 'DELETE', path: `${list}/:image` },
  { method: 'GET', path: `${list}/:image/file` },
  {
    method: 'PUT',
    path: `${list}/:image/file`,
    params: { image },
    headers: { 'content-type': 'application/octet-stream' },
    body: { not: 'a qcow2 image' },
  },
  { method: 'PUT', path: `${list}/:image/tags/:tag`, params: { image } },
  { method: 'DELETE', path: `${list}/:image/tags/:tag`, params: { image } },
  { method: 'GET', path: `${list}/:image/members`, params: { image } },
  { method: 'POST', path: `${list}/:image/members`, params: { image }, body: { member: 'abc' } },
  { method: 'PUT', path: `${list}/:image/members/:member`, params: { image }, body: { status: 'accepted' } },
  { method: 'POST', path: `${list}/:image/actions/deactivate`, params: { image } },
  { method: 'GET', path: '/image/v2/schemas/:schema' },
]

for (const seed of [3, 4]) {
  test(`300 malformed requests to images give no 5xx (seed ${seed})`, { timeout: 120_000 }, async () => {
    const token = await rig.adminToken()
    const body = { name: 'fuzzed', disk_format: 'qcow2', container_format: 'bare' }
    const made = await rig.call<{ id: string }>('POST', list, { token, body })
    const tally = new Map<number, number>()
    const headers = { 'x-auth-token': token }
    for (const request of malformedRequests(seed, routes(made.body.id), { count: 300, headers })) {
      const answer = await rig.app.inject(request)
      assert.ok(
        answer.statusCode < 500,
        `${answer.statusCode} for ${describeRequest(request)}: ${answer.body}`,
      )
      tally.set(answer.statusCode, (tally.get(answer.statusCode) ?? 0) + 1)
    }
    assert.ok((tally.get(400) ?? 0) > 40, JSON.stringify([...tally]))
  })
}
