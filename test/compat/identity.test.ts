import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { startCloud, type Cloud } from './stock-client.ts'

let cloud: Cloud
before(async () => {
  cloud = await startCloud()
})
after(() => cloud.stop())

test('openstack token issue answers with a token of the project', async () => {
  const token = await cloud.json<{ id: string; project_id: string; expires: string }>('openstack', [
    'token',
    'issue',
  ])
  const principal = await cloud.identity.tokens.verify(token.id)
  assert.equal(principal.projectId, token.project_id)
  assert.equal(principal.userName, 'admin')
})

test('openstack catalog list shows every service at the address the client came by', async () => {
  const catalog = await cloud.json<{ Name: string; Type: string; Endpoints: { url: string }[] }[]>(
    'openstack',
    ['catalog', 'list'],
  )
  assert.deepEqual(
    catalog.map((service) => [service.Name, service.Type]),
    [
      ['keystone', 'identity'],
      ['glance', 'image'],
      ['cinderv3', 'volumev3'],
      ['nova', 'compute'],
      ['manilav2', 'sharev2'],
    ],
  )
  for (const service of catalog)
    for (const e of service.Endpoints) assert.ok(e.url.startsWith(cloud.origin), e.url)
})

test('an administrator adds a project with a user, who can then authenticate', async () => {
  const project = await cloud.json<{ id: string }>('openstack', ['project', 'create', 'X'])
  await cloud.json('openstack', ['user', 'create', '--project', 'X', '--password', 'p', 'u'])
  const added = await cloud.run('openstack', ['role', 'add', '--user', 'u', '--project', 'X', 'member'])
  assert.equal(added.code, 0, added.stderr)
  const user = { OS_USERNAME: 'u', OS_PASSWORD: 'p', OS_PROJECT_NAME: 'X' }
  const credential = await cloud.json<{ id: string; secret: string }>(
    'openstack',
    ['application', 'credential', 'create', '--role', 'reader', 'robot'],
    user,
  )
  const token = await cloud.json<{ id: string; project_id: string }>('openstack', ['token', 'issue'], {
    ...cleared,
    OS_AUTH_TYPE: 'v3applicationcredential',
    OS_APPLICATION_CREDENTIAL_ID: credential.id,
    OS_APPLICATION_CREDENTIAL_SECRET: credential.secret,
  })
  assert.equal(token.project_id, project.id)
  assert.deepEqual((await cloud.identity.tokens.verify(token.id)).roles, ['reader'])
})

/** An application credential goes with nothing that names a user or a project. */
const cleared = {
  OS_USERNAME: '',
  OS_PASSWORD: '',
  OS_PROJECT_NAME: '',
  OS_USER_DOMAIN_NAME: '',
  OS_PROJECT_DOMAIN_NAME: '',
}
