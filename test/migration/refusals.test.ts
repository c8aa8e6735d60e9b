import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { after, before, describe, test } from 'node:test'
import { createClient } from '@volant/client'
import { adminToken, ended, openPlane, poolOf, until, type Plane } from './plane.ts'

const mib = 1024 * 1024

/** `cinder-lmb` has room for next to nothing. */
const smallTarget = (stateDir: string) => `
clusters:
  - name: cinder-lma
    nodes:
      - { name: lma-01, data_address: 127.0.0.1, aggregates: [{ name: aggr1, path: ${stateDir}/lma/aggr1 }] }
    flexvols: [{ name: vol1, lif: 127.0.0.1, node: lma-01, aggregate: aggr1 }]
  - name: cinder-lmb
    nodes:
      - { name: lmb-01, data_address: 127.0.0.1, aggregates: [{ name: aggr1, path: ${stateDir}/lmb/aggr1, size: 64MiB }] }
    flexvols: [{ name: vol2, lif: 127.0.0.1, node: lmb-01, aggregate: aggr1 }]
compute_hosts: [{ name: compute-1 }]
migration: { retention: 1s }
`

interface Answer {
  status: number
  body: Record<string, { message?: string; code?: number }>
}

describe('a migration that cannot be is refused with its reason, and nothing is changed', () => {
  let plane: Plane
  let volumeId = ''
  let target = ''
  const here = `${hostname()}@cinder-lma#127.0.0.1:/vol1`

  before(async () => {
    plane = await openPlane(smallTarget)
    const volume = await plane.client.volume.create({ name: 'data', size: 1 })
    volumeId = volume.id
    await until(
      'it is available',
      60_000,
      async () => (await plane.client.volume.show(volumeId)).status === 'available',
    )
    target = await poolOf(plane, 'cinder-lmb')
  })
  after(() => plane.close())

  /** `os-migrate_volume` as any client could send it. */
  const migrate = async (
    host: unknown,
    options: { id?: string; headers?: object; body?: string } = {},
  ): Promise<Answer> => {
    const project = await plane.client.session.projectId()
    const token = await adminToken(plane)
    const response = await fetch(
      `${plane.client.session.url}/volume/v3/${project}/volumes/${options.id ?? volumeId}/action`,
      {
        method: 'POST',
        headers: { 'x-auth-token': token, 'content-type': 'application/json', ...options.headers },
        body:
          options.body ??
          JSON.stringify({ 'os-migrate_volume': { host, force_host_copy: false, lock_volume: false } }),
      },
    )
    const text = await response.text()
    return { status: response.status, body: text === '' ? {} : (JSON.parse(text) as Answer['body']) }
  }
  const refused = async (
    host: unknown,
    status: number,
    reason: RegExp,
    options: Parameters<typeof migrate>[1] = {},
  ) => {
    const before = await plane.client.volume.show(volumeId)
    const answer = await migrate(host, options)
    assert.equal(answer.status, status, JSON.stringify(answer.body))
    assert.match(Object.values(answer.body)[0]?.message ?? '', reason)
    assert.deepEqual(await plane.client.volume.show(volumeId), before, 'the volume is as it was')
    assert.deepEqual(
      (await plane.client.ndo.operations({ kind: 'volume.migrate', resource: volumeId })).operations,
      [],
    )
  }

  test('an unknown host, backend, pool, each named with what there is', async () => {
    await refused(
      'elsewhere@cinder-lmb#127.0.0.1:/vol2',
      400,
      /No available service named 'elsewhere'.*host here is/,
    )
    await refused(
      `${hostname()}@nowhere#127.0.0.1:/vol2`,
      400,
      /no backend 'nowhere'.*cinder-lma, cinder-lmb/,
    )
    await refused(
      `${hostname()}@cinder-lmb#127.0.0.1:/x`,
      400,
      /no pool '127.0.0.1:\/x'. It has: 127.0.0.1:\/vol2/,
    )
  })

  test('the pool it is in already', () => refused(here, 400, /is in .* already/))

  test('a malformed host string, and values of wrong types', async () => {
    await refused('cinder-lmb', 400, /HOST@BACKEND#POOL/)
    await refused('a@b', 400, /HOST@BACKEND#POOL/)
    await refused('', 400, /./)
    await refused(7, 400, /host/)
    await refused(null, 400, /host/)
    await refused('x'.repeat(10_000), 400, /./)
    await refused('a\u0000@b#c', 400, /./)
  })

  test('a body that is not JSON, or too large; an unknown microversion', async () => {
    await refused(target, 400, /JSON/, { body: '{"os-migrate' })
    await refused(target, 413, /./, {
      body: JSON.stringify({ 'os-migrate_volume': { host: 'x'.repeat(2 * mib) } }),
    })
    await refused(target, 406, /3\.0.*3\.\d+/, { headers: { 'openstack-api-version': 'volume 3.999' } })
    await refused(target, 400, /./, { headers: { 'openstack-api-version': 'volume latestest' } })
  })

  test('no token, a wrong one; a volume that is not there', async () => {
    await refused(target, 401, /./, { headers: { 'x-auth-token': 'nonsense' } })
    await refused(target, 401, /./, { headers: { 'x-auth-token': '' } })
    await refused(target, 404, /could not be found/, { id: crypto.randomUUID() })
    await refused(target, 404, /could not be found/, { id: 'no-such-volume' })
  })

  test("not an administrator: 403 with the policy's name for one's own volume, 404 for another project's", async () => {
    const member = await addMember(plane)
    const own = await member.client.volume.create({ name: 'own', size: 1 })
    const url = (id: string) => `/volume/v3/${member.projectId}/volumes/${id}/action`
    const body = { 'os-migrate_volume': { host: target } }
    await assert.rejects(
      member.client.session.json('POST', url(own.id), { body }),
      (error: { status: number; message: string }) =>
        error.status === 403 && /volume_extension:volume_admin_actions:migrate_volume/.test(error.message),
    )
    await assert.rejects(member.client.session.json('POST', url(volumeId), { body }), { status: 404 })
    await assert.rejects(member.client.ndo.operations(), { status: 403 })
  })

  test('a pool that is too small, told before anything starts; the dry run says the same, and all that holds', async () => {
    const { path } = await plane.client.ndo.placement(volumeId)
    const { open } = await import('node:fs/promises')
    const file = await open(path as string, 'r+')
    await file.write(Buffer.alloc(80 * mib, 1), 0, 80 * mib, 0)
    await file.close()
    await refused(target, 400, /too small: 0\.0[78] GiB are needed, and 0\.06 GiB are free/)
    const plan = await plane.client.ndo.planMigration({ volume: volumeId, host: target })
    assert.equal(plan.ok, false)
    assert.deepEqual(
      plan.checks.filter((c) => !c.ok).map((c) => c.name),
      ['target-space'],
    )
    assert.equal(plan.checks.length, 16)
    assert.ok((plan.estimate?.bytes ?? 0) >= 80 * mib)
  })

  test('a volume that migrates already, that is being deleted; a retained source goes when its time is over', async () => {
    const other = await plane.client.volume.create({ name: 'other', size: 1 })
    await until(
      'it is available',
      60_000,
      async () => (await plane.client.volume.show(other.id)).status === 'available',
    )
    const { path } = await plane.client.ndo.placement(other.id)
    const { open, stat } = await import('node:fs/promises')
    const file = await open(path as string, 'r+')
    await file.write(Buffer.alloc(8 * mib, 1), 0, 8 * mib, 0)
    await file.close()
    const { id } = await plane.client.ndo.migrate({ volume: other.id, host: target, rate: 200_000 })
    const again = await migrate(target, { id: other.id })
    assert.equal(again.status, 400)
    assert.match(Object.values(again.body)[0]?.message ?? '', /migrat/)
    await plane.client.ndo.setRate(id, 0)
    assert.equal((await ended(plane, id)).state, 'succeeded')
    await assert.rejects(plane.client.ndo.cancel(id), { status: 409 })
    const source = path as string
    await until('the retained source is gone', 60_000, () =>
      stat(source).then(
        () => false,
        () => true,
      ),
    )
    await plane.client.volume.remove(other.id)
    const late = await migrate(here, { id: other.id })
    assert.ok(late.status === 400 || late.status === 404, String(late.status))
  })
})

/** A project with a user who is its member, as an administrator adds them. */
async function addMember(plane: Plane) {
  const { session } = plane.client
  const call = (method: string, path: string, body?: unknown) =>
    session.json(method, `/identity/v3${path}`, { body })
  const { project } = (await call('POST', '/projects', { project: { name: 'tenant' } })) as {
    project: { id: string }
  }
  const { user } = (await call('POST', '/users', { user: { name: 'alice', password: 'secret' } })) as {
    user: { id: string }
  }
  const { roles } = (await call('GET', '/roles?name=member')) as { roles: { id: string }[] }
  await call('PUT', `/projects/${project.id}/users/${user.id}/roles/${roles[0]?.id}`)
  const client = createClient({
    url: session.url,
    username: 'alice',
    password: 'secret',
    projectName: 'tenant',
    userDomainName: 'Default',
    projectDomainName: 'Default',
  })
  return { client, projectId: project.id }
}
