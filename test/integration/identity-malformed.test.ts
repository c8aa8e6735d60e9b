import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { identityRig, type IdentityRig } from '../../packages/control/src/http/identity/testing.ts'
import { describeRequest, malformedRequests, type FuzzedRoute } from './malformed.ts'

let rig: IdentityRig
before(async () => {
  rig = await identityRig()
})
after(() => rig.close())

const scoped = { name: 'x', domain: { id: 'default' } }
const resource = (kind: string, path: string, fields: Record<string, unknown>): FuzzedRoute[] => [
  { method: 'GET', path, query: ['name', 'domain_id', 'enabled', 'parent_id'] },
  { method: 'POST', path, body: { [kind]: fields } },
  { method: 'GET', path: `${path}/:id` },
  { method: 'PATCH', path: `${path}/:id`, body: { [kind]: fields } },
  { method: 'DELETE', path: `${path}/:id` },
]

const routes = (userId: string, projectId: string): FuzzedRoute[] => [
  { method: 'GET', path: '/identity' },
  { method: 'GET', path: '/identity/v3' },
  {
    method: 'POST',
    path: '/identity/v3/auth/tokens',
    body: {
      auth: {
        identity: { methods: ['password'], password: { user: { ...scoped, password: 'x' } } },
        scope: { project: scoped },
      },
    },
  },
  {
    method: 'POST',
    path: '/identity/v3/auth/tokens',
    body: {
      auth: {
        identity: {
          methods: ['application_credential', 'token'],
          application_credential: { id: 'x', name: 'y', user: scoped, secret: 'z' },
          token: { id: 'v1.x.y' },
        },
        scope: { system: { all: true } },
      },
    },
  },
  { method: 'GET', path: '/identity/v3/auth/tokens' },
  { method: 'DELETE', path: '/identity/v3/auth/tokens' },
  { method: 'GET', path: '/identity/v3/auth/catalog' },
  { method: 'GET', path: '/identity/v3/services', query: ['type'] },
  { method: 'GET', path: '/identity/v3/endpoints', query: ['service_id', 'interface'] },
  ...resource('project', '/identity/v3/projects', {
    name: 'p',
    domain_id: 'default',
    parent_id: 'default',
    description: 'd',
    enabled: true,
    tags: ['t'],
  }),
  ...resource('user', '/identity/v3/users', {
    name: 'u',
    domain_id: 'default',
    email: 'e',
    default_project_id: projectId,
    enabled: true,
    password: 'x',
  }),
  ...resource('role', '/identity/v3/roles', { name: 'r', description: 'd' }),
  ...resource('domain', '/identity/v3/domains', { name: 'd', description: 'd', enabled: true }),
  ...resource('group', '/identity/v3/groups', { name: 'g', domain_id: 'default', description: 'd' }),
  {
    method: 'POST',
    path: '/identity/v3/users/:user/password',
    body: { user: { original_password: 'a', password: 'b' } },
  },
  { method: 'PUT', path: '/identity/v3/projects/:project/users/:user/roles/:role' },
  { method: 'DELETE', path: '/identity/v3/system/users/:user/roles/:role' },
  {
    method: 'GET',
    path: '/identity/v3/role_assignments',
    query: ['user.id', 'group.id', 'scope.project.id', 'scope.system', 'effective', 'include_names'],
  },
  {
    method: 'POST',
    path: '/identity/v3/users/:user/application_credentials',
    params: { user: userId },
    body: {
      application_credential: {
        name: 'a',
        secret: 's',
        roles: [{ name: 'reader' }],
        expires_at: '2030-01-01T00:00:00Z',
        unrestricted: false,
      },
    },
  },
]

for (const seed of [1, 2]) {
  test(`300 malformed requests to identity give no 5xx (seed ${seed})`, { timeout: 120_000 }, async () => {
    const headers = { 'x-auth-token': await rig.adminToken() }
    const tally = new Map<number, number>()
    const list = routes(rig.access.userId, rig.access.projectId)
    for (const request of malformedRequests(seed, list, { count: 300, headers })) {
      const answer = await rig.app.inject(request)
      assert.ok(
        answer.statusCode < 500,
        `${answer.statusCode} for ${describeRequest(request)}: ${answer.body}`,
      )
      tally.set(answer.statusCode, (tally.get(answer.statusCode) ?? 0) + 1)
    }
    // It got past the first check often enough to mean something.
    assert.ok((tally.get(400) ?? 0) > 40, JSON.stringify([...tally]))
  })
}
