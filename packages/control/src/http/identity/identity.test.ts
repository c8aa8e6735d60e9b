import assert from 'node:assert/strict'
import { stat, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { identityRig, passwordAuth, type IdentityRig } from './testing.ts'

interface TokenBody {
  token: {
    methods: string[]
    user: { id: string }
    project?: { id: string; name: string }
    domain?: { id: string }
    system?: { all: boolean }
    roles?: { name: string }[]
    catalog?: { type: string; endpoints: { url: string }[] }[]
    expires_at: string
  }
}
interface ErrorBody {
  error: { code: number; message: string; title: string }
}

let rig: IdentityRig
let admin: string
before(async () => {
  rig = await identityRig()
  admin = await rig.adminToken()
})
after(() => rig.close())

const make = async (path: string, kind: string, body: Record<string, unknown>): Promise<string> => {
  const made = await rig.call<Record<string, { id: string }>>('POST', path, {
    token: admin,
    body: { [kind]: body },
  })
  assert.equal(made.status, 201, JSON.stringify(made.body))
  return (made.body[kind] as { id: string }).id
}
const roleId = async (name: string): Promise<string> => {
  const { body } = await rig.call<{ roles: { id: string }[] }>('GET', `/roles?name=${name}`, { token: admin })
  return body.roles[0]?.id as string
}
/** A user with the role `member` in a project of its own. */
const makeMember = async (name: string) => {
  const project = await make('/projects', 'project', { name: `${name}-project` })
  const user = await make('/users', 'user', {
    name,
    password: `${name}-password`,
    default_project_id: project,
  })
  const grant = `/projects/${project}/users/${user}/roles/${await roleId('member')}`
  assert.equal((await rig.call('PUT', grant, { token: admin })).status, 204)
  return { project, user, grant, login: () => rig.login(name, `${name}-password`, `${name}-project`) }
}
const verified = (token: string) => rig.identity.tokens.verify(token)
const refused = (token: string) => assert.rejects(verified(token), { code: 'unauthenticated' })

test('version discovery needs no token, and its links follow the Host header', async () => {
  const root = await rig.app.inject({ url: '/identity', headers: { host: 'cloud.example:8000' } })
  assert.equal(root.statusCode, 300)
  assert.equal(root.json().versions.values[0].links[0].href, 'http://cloud.example:8000/identity/v3/')
  for (const path of ['/identity/v3', '/identity/v3/']) {
    const { status, body } = await rig.call<{ version: { id: string } }>('GET', path)
    assert.deepEqual([status, body.version.id], [200, 'v3.14'])
  }
})

test('a password gives a token with catalogue and implied roles; ?nocatalog leaves the catalogue out', async () => {
  const body = passwordAuth('admin', rig.access.password, 'admin')
  const { body: answer, headers } = await rig.call<TokenBody>('POST', '/auth/tokens', { body })
  assert.deepEqual(answer.token.roles?.map((role) => role.name).sort(), [
    'admin',
    'manager',
    'member',
    'reader',
  ])
  const volume = answer.token.catalog?.find((service) => service.type === 'volumev3')
  assert.equal(volume?.endpoints[0]?.url, `http://localhost:80/volume/v3/${rig.access.projectId}`)
  const principal = await verified(headers['x-subject-token'] as string)
  assert.deepEqual(principal.roles.toSorted(), ['admin', 'manager', 'member', 'reader'])
  assert.equal(principal.projectName, 'admin')
  const bare = await rig.call<TokenBody>('POST', '/auth/tokens?nocatalog', { body })
  assert.equal(bare.body.token.catalog, undefined)
})

test('scopes: by project id, domain, system, explicitly none, and the default project', async () => {
  const member = await makeMember('scopes')
  const domainAdmin = `/domains/default/users/${member.user}/roles/${await roleId('reader')}`
  await rig.call('PUT', domainAdmin, { token: admin })
  await rig.call('PUT', `/system/users/${member.user}/roles/${await roleId('reader')}`, { token: admin })
  const issue = async (scope: unknown): Promise<TokenBody['token']> => {
    const body = passwordAuth('scopes', 'scopes-password')
    const auth = scope === undefined ? body.auth : { ...body.auth, scope }
    const answer = await rig.call<TokenBody>('POST', '/auth/tokens', { body: { auth } })
    assert.equal(answer.status, 201, JSON.stringify(answer.body))
    return answer.body.token
  }
  assert.equal((await issue({ project: { id: member.project } })).project?.id, member.project)
  assert.equal((await issue({ domain: { name: 'Default' } })).domain?.id, 'default')
  assert.deepEqual((await issue({ system: { all: true } })).system, { all: true })
  assert.equal((await issue(undefined)).project?.id, member.project)
  const unscoped = await issue('unscoped')
  assert.deepEqual([unscoped.project, unscoped.roles, unscoped.catalog], [undefined, undefined, undefined])
})

test('an unknown user, a wrong password and a project without a role get the same 401', async () => {
  await make('/users', 'user', { name: 'roleless', password: 'secret' })
  const texts = new Set<string>()
  for (const [user, password, project] of [
    ['nobody', 'x', 'admin'],
    ['admin', 'wrong', 'admin'],
    ['roleless', 'secret', 'admin'],
    ['roleless', 'secret', 'no-such-project'],
  ] as const) {
    const answer = await rig.call<ErrorBody>('POST', '/auth/tokens', {
      body: passwordAuth(user, password, project),
    })
    assert.equal(answer.status, 401)
    assert.equal(answer.body.error.title, 'Unauthorized')
    texts.add(JSON.stringify(answer.body))
  }
  assert.equal(texts.size, 1)
})

const timeToRefuse = async (user: string): Promise<number> => {
  const start = performance.now()
  const answer = await rig.call('POST', '/auth/tokens', { body: passwordAuth(user, 'wrong', 'admin') })
  assert.equal(answer.status, 401)
  return performance.now() - start
}

test('an unknown user takes as long as a wrong password', async () => {
  // In turn, and the fastest of each: what else the machine does must not decide.
  let [known, unknown] = [Infinity, Infinity]
  for (let round = 0; round < 8; round++) {
    known = Math.min(known, await timeToRefuse('admin'))
    unknown = Math.min(unknown, await timeToRefuse('nobody-at-all'))
  }
  assert.ok(unknown > known / 2 && unknown < known * 2, `known ${known} ms, unknown ${unknown} ms`)
})

test('GET and HEAD look at a token: its owner’s and an administrator’s alone; 404 for what is none', async () => {
  const one = await makeMember('looked-at')
  const [own, other] = [await one.login(), await (await makeMember('looker')).login()]
  for (const token of [own, admin]) {
    const seen = await rig.call<TokenBody>('GET', '/auth/tokens', { token, subject: own })
    assert.deepEqual([seen.status, seen.body.token.user.id], [200, one.user])
    const head = await rig.call('HEAD', '/auth/tokens', { token, subject: own })
    assert.deepEqual([head.status, head.body], [200, {}])
  }
  assert.equal((await rig.call('GET', '/auth/tokens', { token: other, subject: own })).status, 403)
  assert.equal((await rig.call('DELETE', '/auth/tokens', { token: other, subject: own })).status, 403)
  assert.equal((await rig.call('GET', '/auth/tokens', { token: admin, subject: 'x' })).status, 404)
  assert.equal((await rig.call('GET', '/auth/tokens', { token: admin })).status, 400)
  assert.equal((await rig.call('GET', '/auth/tokens', { subject: own })).status, 401)
})

test('a token can be rescoped, which does not lengthen its life', async () => {
  const member = await makeMember('rescope')
  const first = await rig.call<TokenBody>('POST', '/auth/tokens', {
    body: passwordAuth('rescope', 'rescope-password'),
  })
  rig.clock.forward(600)
  const answer = await rig.call<TokenBody>('POST', '/auth/tokens', {
    body: {
      auth: {
        identity: { methods: ['token'], token: { id: first.headers['x-subject-token'] } },
        scope: { project: { id: member.project } },
      },
    },
  })
  assert.equal(answer.status, 201)
  assert.deepEqual(answer.body.token.methods.toSorted(), ['password', 'token'])
  assert.equal(answer.body.token.expires_at, first.body.token.expires_at)
  admin = await rig.adminToken()
})

test('tokens expire, and a changed or foreign one is none', async () => {
  const { login } = await makeMember('expiry')
  const token = await login()
  await verified(token)
  const middle = Math.floor(token.length / 2)
  await refused(token.slice(0, middle) + (token[middle] === 'A' ? 'B' : 'A') + token.slice(middle + 1))
  await refused(`${token}x`)
  await refused('v1..')
  rig.clock.forward(3601)
  await refused(token)
  admin = await rig.adminToken()
})

test('revoking, and losing the password, the role, the user or the project, end a token at once', async () => {
  const member = await makeMember('ending')
  const revoked = await member.login()
  await verified(revoked)
  const ended = await rig.call('DELETE', '/auth/tokens', { token: revoked, subject: revoked })
  assert.equal(ended.status, 204)
  await refused(revoked)

  const ends = async (method: string, path: string, body?: unknown): Promise<void> => {
    const token = await member.login()
    await verified(token)
    const answer = await rig.call(method, path, { token: admin, ...(body === undefined ? {} : { body }) })
    assert.ok(answer.status < 300, `${method} ${path}: ${answer.status}`)
    await refused(token)
  }
  await ends('DELETE', member.grant)
  await rig.call('PUT', member.grant, { token: admin })
  await ends('PATCH', `/projects/${member.project}`, { project: { enabled: false } })
  await rig.call('PATCH', `/projects/${member.project}`, {
    token: admin,
    body: { project: { enabled: true } },
  })
  await ends('PATCH', `/users/${member.user}`, { user: { enabled: false } })
  await rig.call('PATCH', `/users/${member.user}`, { token: admin, body: { user: { enabled: true } } })
  await ends('POST', `/users/${member.user}/password`, {
    user: { original_password: 'ending-password', password: 'another' },
  })
  await assert.rejects(member.login())
  await rig.login('ending', 'another', 'ending-project')
})

test('a user sees itself and its projects, and nothing of others', async () => {
  const member = await makeMember('self')
  const token = await member.login()
  const status = async (method: string, path: string, body?: unknown): Promise<number> =>
    (await rig.call(method, path, { token, ...(body === undefined ? {} : { body }) })).status
  assert.equal(await status('GET', `/users/${member.user}`), 200)
  assert.equal(await status('GET', `/users/${member.user}/projects`), 200)
  assert.equal(await status('GET', `/projects/${member.project}`), 200)
  assert.equal(await status('GET', `/role_assignments?user.id=${member.user}`), 200)
  assert.equal(await status('GET', `/users/${rig.access.userId}`), 403)
  assert.equal(await status('GET', `/projects/${rig.access.projectId}`), 403)
  assert.equal(await status('GET', '/users'), 403)
  assert.equal(await status('GET', '/role_assignments'), 403)
  assert.equal(await status('PATCH', `/users/${member.user}`, { user: { enabled: true } }), 403)
  const grant = `/projects/${member.project}/users/${member.user}/roles/${await roleId('admin')}`
  assert.equal(await status('PUT', grant), 403)
  const denied = await rig.call<ErrorBody>('POST', '/projects', { token, body: { project: { name: 'x' } } })
  assert.equal(
    denied.body.error.message,
    'You are not authorized to perform the requested action: identity:create_project.',
  )
})

test('projects and users: filters, duplicate names, update, delete', async () => {
  const id = await make('/projects', 'project', { name: 'filters', description: 'd' })
  const named = await rig.call<{ projects: { id: string }[] }>('GET', '/projects?name=filters', {
    token: admin,
  })
  assert.deepEqual(
    named.body.projects.map((project) => project.id),
    [id],
  )
  const none = await rig.call<{ projects: unknown[] }>('GET', '/projects?name=filters&enabled=false', {
    token: admin,
  })
  assert.deepEqual(none.body.projects, [])
  const again = await rig.call<ErrorBody>('POST', '/projects', {
    token: admin,
    body: { project: { name: 'filters' } },
  })
  assert.equal(again.status, 409)
  const change = { project: { name: 'filtered', description: null } }
  const changed = await rig.call<{ project: Record<string, unknown> }>('PATCH', `/projects/${id}`, {
    token: admin,
    body: change,
  })
  assert.deepEqual([changed.body.project['name'], changed.body.project['description']], ['filtered', ''])
  const child = await make('/projects', 'project', { name: 'child', parent_id: id })
  assert.equal((await rig.call('DELETE', `/projects/${id}`, { token: admin })).status, 403)
  assert.equal((await rig.call('DELETE', `/projects/${child}`, { token: admin })).status, 204)
  assert.equal((await rig.call('DELETE', `/projects/${id}`, { token: admin })).status, 204)
  const gone = await rig.call<ErrorBody>('GET', `/projects/${id}`, { token: admin })
  assert.deepEqual(gone.body, {
    error: { code: 404, message: `Could not find project: ${id}.`, title: 'Not Found' },
  })
})

test('assignments: listed with names, effective through implication and groups', async () => {
  const member = await makeMember('listed')
  const group = await make('/groups', 'group', { name: 'crew' })
  await rig.call('PUT', `/groups/${group}/users/${member.user}`, { token: admin })
  const grant = `/projects/${rig.access.projectId}/groups/${group}/roles/${await roleId('reader')}`
  assert.equal((await rig.call('PUT', grant, { token: admin })).status, 204)
  await rig.login('listed', 'listed-password', 'admin')
  interface Listed {
    role_assignments: {
      role: { name: string }
      scope: { project: { name: string } }
      user: { name: string }
    }[]
  }
  const list = async (query: string): Promise<string[]> => {
    const path = `/role_assignments?user.id=${member.user}&include_names${query}`
    const { body } = await rig.call<Listed>('GET', path, { token: admin })
    return body.role_assignments.map((a) => `${a.user.name} ${a.role.name} ${a.scope.project.name}`).sort()
  }
  assert.deepEqual(await list(''), ['listed member listed-project'])
  assert.deepEqual(await list('&effective'), [
    'listed member listed-project',
    'listed reader admin',
    'listed reader listed-project',
  ])
  const token = await rig.login('listed', 'listed-password', 'admin')
  await rig.call('DELETE', `/groups/${group}/users/${member.user}`, { token: admin })
  await refused(token)
})

test('application credentials: fewer roles, shown once, restricted, ended by deletion and by lost roles', async () => {
  const member = await makeMember('appcred')
  const token = await member.login()
  const path = `/users/${member.user}/application_credentials`
  interface Made {
    application_credential: { id: string; secret?: string; roles: { name: string }[] }
  }
  const asked = { application_credential: { name: 'robot', roles: [{ name: 'reader' }] } }
  const made = await rig.call<Made>('POST', path, { token, body: asked })
  assert.equal(made.status, 201, JSON.stringify(made.body))
  const { id, secret } = made.body.application_credential
  const shown = await rig.call<Made>('GET', `${path}/${id}`, { token })
  assert.equal(shown.body.application_credential.secret, undefined)
  const login = (given: unknown, scope?: unknown) =>
    rig.call<TokenBody>('POST', '/auth/tokens', {
      body: {
        auth: {
          identity: { methods: ['application_credential'], application_credential: given },
          ...(scope === undefined ? {} : { scope }),
        },
      },
    })
  const first = await login({ id, secret })
  assert.deepEqual(
    first.body.token.roles?.map((role) => role.name),
    ['reader'],
  )
  assert.equal(first.body.token.project?.id, member.project)
  const byName = { name: 'robot', user: { name: 'appcred', domain: { id: 'default' } }, secret }
  assert.equal((await login(byName)).status, 201)
  assert.equal((await login({ id, secret: 'wrong' })).status, 401)
  assert.equal((await login({ id, secret }, { project: { id: member.project } })).status, 401)

  const robot = first.headers['x-subject-token'] as string
  const more = { application_credential: { name: 'more' } }
  assert.equal((await rig.call('POST', path, { token: robot, body: more })).status, 403)
  assert.equal((await rig.call('DELETE', `${path}/${id}`, { token: robot })).status, 403)
  const admins = { application_credential: { name: 'admins', roles: [{ name: 'admin' }] } }
  assert.equal((await rig.call('POST', path, { token, body: admins })).status, 404)
  await verified(robot)
  assert.equal((await rig.call('DELETE', `${path}/${id}`, { token })).status, 204)
  await refused(robot)
})

test('bootstrap: private files, reused at the next start', async () => {
  for (const name of ['admin-password', 'token-key']) {
    const { mode } = await stat(join(rig.stateDir, name))
    assert.equal(mode & 0o777, 0o600, name)
  }
  const password = (await readFile(join(rig.stateDir, 'admin-password'), 'utf8')).trim()
  assert.equal(password, rig.access.password)
  assert.deepEqual(await rig.identity.bootstrap(), rig.access)
})

test('services, endpoints and regions can be read', async () => {
  const services = await rig.call<{ services: { id: string; type: string }[] }>(
    'GET',
    '/services?type=compute',
    {
      token: admin,
    },
  )
  const id = services.body.services[0]?.id
  const endpoints = await rig.call<{ endpoints: unknown[] }>('GET', `/endpoints?service_id=${id}`, {
    token: admin,
  })
  assert.equal(endpoints.body.endpoints.length, 3)
  assert.equal((await rig.call('GET', '/regions/RegionOne', { token: admin })).status, 200)
})
