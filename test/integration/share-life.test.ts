import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { DomainError } from '@volant/contract'
import { gib } from '../../packages/control/src/domain/volume.ts'
import { openShareRig, type ShareRig } from './share-rig.ts'
import { projectId } from './volume-rig.ts'

/** What is done with a share in its life: rules, growth, snapshots, reverting. */
let rig: ShareRig
before(async () => {
  rig = await openShareRig()
})
after(() => rig.stop())

const act = (id: string, body: unknown, as = 'member') =>
  rig.call('POST', `/shares/${id}/action`, { as, body })

async function refused(
  answer: Promise<{ status: number; body: unknown }>,
  status: number,
  reason: RegExp,
): Promise<void> {
  const { status: got, body } = await answer
  assert.equal(got, status, JSON.stringify(body))
  assert.match(JSON.stringify(body), reason)
}

const allow = (id: string, to: string, more: Record<string, unknown> = {}) =>
  act(id, { allow_access: { access_type: 'ip', access_to: to, ...more } })
const rulesOf = async (id: string) =>
  (await rig.call('GET', `/share-access-rules?share_id=${id}`)).body.access_list
const ruleActive = (ruleId: string) =>
  rig.until(`/share-access-rules/${ruleId}`, 'access', { state: 'active' })
/** The agent of the node that serves it: its backend is the scheduler's choice. */
async function agentOf(id: string) {
  const { host } = (await rig.call('GET', `/shares/${id}`, { as: 'admin' })).body.share
  return rig.world.agents.shares(String(host).includes('manila-lmb') ? 'lmb-01' : 'lma-01')
}
const statusOf = async (id: string) => (await agentOf(id)).shareStatus(id)
const exported = async (id: string) => (await statusOf(id)).export

test('access rules are applied to the export, in canonical form, and taken away', async () => {
  const { id } = await rig.create()
  assert.deepEqual((await exported(id))?.clients, [])
  const made = await allow(id, '10.0.0.0/24', { access_level: 'ro', metadata: { who: 'office' } })
  assert.equal(made.status, 200)
  assert.equal(made.body.access.state, 'queued_to_apply')
  await ruleActive(made.body.access.id)
  const host = await allow(id, '10.0.0.7/32')
  assert.equal(host.body.access.access_to, '10.0.0.7')
  await ruleActive(host.body.access.id)
  const six = await allow(id, '2001:DB8:0:0::/64')
  assert.equal(six.body.access.access_to, '2001:db8::/64')
  await ruleActive(six.body.access.id)
  const clients = (await exported(id))?.clients.toSorted((a, b) => (a.to < b.to ? -1 : 1))
  assert.deepEqual(clients, [
    { to: '10.0.0.0/24', level: 'ro' },
    { to: '10.0.0.7', level: 'rw' },
    { to: '2001:db8::/64', level: 'rw' },
  ])
  await refused(allow(id, '10.0.0.7'), 400, /Share access ip:10\.0\.0\.7 exists/)
  await refused(allow(id, '2001:db8::/64'), 400, /exists/)

  const old = await rig.call('POST', `/shares/${id}/action`, { version: '2.44', body: { access_list: null } })
  assert.equal(old.body.access_list.length, 3)
  assert.equal((await act(id, { access_list: null })).status, 404)
  const shown = (await rig.call('GET', `/share-access-rules/${made.body.access.id}`)).body.access
  assert.deepEqual([shown.metadata, shown.access_key, shown.access_type], [{ who: 'office' }, null, 'ip'])
  const path = `/share-access-rules/${made.body.access.id}`
  assert.equal(
    (await rig.call('PUT', `${path}/metadata`, { body: { metadata: { floor: '2' } } })).status,
    200,
  )
  assert.equal((await rig.call('DELETE', `${path}/metadata/who`)).status, 202)
  assert.deepEqual((await rig.call('GET', path)).body.access.metadata, { floor: '2' })
  const changed = await rig.call('PUT', path, {
    version: '2.88',
    body: { update_access: { access_level: 'rw' } },
  })
  assert.equal(changed.status, 200)
  await ruleActive(made.body.access.id)
  assert.ok((await exported(id))?.clients.every(({ level }) => level === 'rw'))

  assert.equal((await act(id, { deny_access: { access_id: made.body.access.id } })).status, 202)
  await rig.gone(path)
  await rig.idle(`share/${id}`)
  assert.equal((await rulesOf(id)).length, 2)
  assert.equal((await exported(id))?.clients.length, 2)
})

test('rules that mean nothing are refused, and change nothing', async () => {
  const { id } = await rig.create()
  await refused(allow(id, '10.0.0.1/24'), 400, /has host bits set\. The network is 10\.0\.0\.0\/24/)
  await refused(allow(id, '10.0.0.0/33'), 400, /whole number from 0 to 32/)
  await refused(allow(id, '10.0.0'), 400, /does not appear to be an IPv4 or IPv6 network/)
  await refused(allow(id, '10.0.0.1; rm'), 400, /does not appear/)
  await refused(allow(id, 'fe80::1%eth0'), 400, /does not appear/)
  await refused(allow(id, '2001:db8::/112'), 400, /too small a network for the NFS server/)
  await refused(allow(id, '::ffff:10.0.0.0/120'), 400, /IPv4 address in the form of IPv6/)
  await refused(allow(id, '10.0.0.1', { access_level: 'rwx' }), 400, /Invalid share access level: rwx/)
  const typed = (access_type: string) => act(id, { allow_access: { access_type, access_to: 'alice' } })
  await refused(typed('user'), 400, /does not authenticate users/)
  await refused(typed('cert'), 400, /does not use certificates/)
  await refused(typed('carrier-pigeon'), 400, /Only 'ip'/)
  await refused(act(id, { deny_access: { access_id: 'nope' } }), 404, /could not be found/)
  assert.deepEqual(await rulesOf(id), [])
  await refused(rig.call('GET', '/share-access-rules'), 400, /share_id/)
})

/** Something else than rules is done with the share, until the result is called. */
async function occupied(id: string): Promise<() => Promise<void>> {
  const agent = await agentOf(id)
  const real = agent.ensureFileSystemSize
  const { promise: held, resolve: free } = Promise.withResolvers<void>()
  agent.ensureFileSystemSize = async (...words) => {
    await held
    return real(...words)
  }
  assert.equal((await act(id, { extend: { new_size: 2 } })).status, 202)
  return async () => {
    free()
    await rig.idle(`share/${id}`)
    agent.ensureFileSystemSize = real
  }
}

test('what is refused because of other work changes no rule, not even for a moment', async () => {
  const { id } = await rig.create()
  const { access } = (await allow(id, '10.0.0.1', { access_level: 'ro' })).body
  await ruleActive(access.id)
  await rig.idle(`share/${id}`)
  const release = await occupied(id)
  try {
    const before = await rulesOf(id)
    const level = { version: '2.88', body: { update_access: { access_level: 'rw' } } }
    await refused(rig.call('PUT', `/share-access-rules/${access.id}`, level), 409, /share\.extend/)
    await refused(act(id, { deny_access: { access_id: access.id } }), 409, /share\.extend/)
    await refused(allow(id, '10.0.0.2'), 409, /share\.extend/)
    assert.deepEqual(await rulesOf(id), before)
  } finally {
    await release()
  }
})

test('a rule whose level changes stays in effect all along', async () => {
  const { id } = await rig.create()
  const { access } = (await allow(id, '10.0.0.1', { access_level: 'ro' })).body
  await ruleActive(access.id)
  await rig.idle(`share/${id}`)
  const agent = await agentOf(id)
  agent.failNext('ensureShareExport', new DomainError('unavailable', 'away'))
  const level = { version: '2.88', body: { update_access: { access_level: 'rw' } } }
  const { body } = await rig.call('PUT', `/share-access-rules/${access.id}`, level)
  // In a state in which whoever tells the export of the rules meanwhile does not leave it out.
  assert.ok(['applying', 'active'].includes(body.access.state), body.access.state)
  await ruleActive(access.id)
  await rig.idle(`share/${id}`)
  assert.deepEqual((await exported(id))?.clients, [{ to: '10.0.0.1', level: 'rw' }])
})

test('a rule that is being denied does not come back by another level', async () => {
  const { id } = await rig.create()
  const { access } = (await allow(id, '10.0.0.1')).body
  await ruleActive(access.id)
  await rig.idle(`share/${id}`)
  const agent = await agentOf(id)
  const real = agent.ensureShareExport
  const { promise: told, resolve: tell } = Promise.withResolvers<void>()
  agent.ensureShareExport = async (...words) => {
    await told
    return real(...words)
  }
  const level = { version: '2.88', body: { update_access: { access_level: 'ro' } } }
  assert.equal((await act(id, { deny_access: { access_id: access.id } })).status, 202)
  await refused(rig.call('PUT', `/share-access-rules/${access.id}`, level), 409, /being denied/)
  tell()
  await rig.gone(`/share-access-rules/${access.id}`)
  await rig.idle(`share/${id}`)
  agent.ensureShareExport = real
  assert.deepEqual((await exported(id))?.clients, [])
})

test('many rules at once are all applied', async () => {
  const { id } = await rig.create()
  // The first application takes some time, and the others meet it.
  const agent = await agentOf(id)
  for (let i = 0; i < 3; i++) agent.failNext('ensureShareExport', new DomainError('unavailable', 'away'))
  const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => allow(id, `10.1.0.${i + 1}`)))
  assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200])
  for (const { body } of answers) await ruleActive(body.access.id)
  assert.deepEqual(agent.pendingFaults, [])
  assert.equal((await exported(id))?.clients.length, 12)
  await rig.until(`/shares/${id}`, 'share', { access_rules_status: 'active' })
})

test('a share grows while it is served, and does not shrink', async () => {
  const { id } = await rig.create({ size: 2 })
  assert.equal((await act(id, { extend: { new_size: 3 } })).status, 202)
  await rig.until(`/shares/${id}`, 'share', { status: 'available', size: 3 })
  await rig.idle(`share/${id}`)
  const status = await statusOf(id)
  assert.equal(status.fileSystem?.sizeBytes, 3 * gib)
  await refused(act(id, { extend: { new_size: 3 } }), 400, /must be greater than current size/)
  await refused(act(id, { extend: { new_size: 'x' } }), 400, /specified as an integer/)
  await refused(act(id, { extend: { new_size: 1000 } }), 400, /can grow to 128 GiB/)
  await refused(act(id, { extend: { new_size: 4, force: true } }), 403, /force_extend/)
  await refused(
    act(id, { shrink: { new_size: 1 } }),
    400,
    /could not be shrunk: its file system is XFS.*copy the files/,
  )
  const agent = await agentOf(id)
  agent.setUsed(id, 2.5 * gib)
  await refused(act(id, { shrink: { new_size: 2 } }), 400, /possible data loss: 2\.50 GiB are used/)
  await refused(act(id, { shrink: { new_size: 3 } }), 400, /must be less than current size/)
})

test('a share does not grow while a snapshot is being made: it would be larger than it is said to be', async () => {
  const { id } = await rig.create()
  const agent = await agentOf(id)
  const real = agent.flushFileSystem
  const { promise: held, resolve: free } = Promise.withResolvers<void>()
  agent.flushFileSystem = async (...words) => {
    await held
    return real(...words)
  }
  const { snapshot } = (await rig.call('POST', '/snapshots', { body: { snapshot: { share_id: id } } })).body
  await refused(act(id, { extend: { new_size: 2 } }), 409, /snapshot .* is being made/i)
  assert.equal((await rig.call('GET', `/shares/${id}`)).body.share.status, 'available')
  free()
  await rig.until(`/snapshots/${snapshot.id}`, 'snapshot', { status: 'available' })
  agent.flushFileSystem = real
  await rig.idle(`snapshot/${snapshot.id}`)
  assert.equal((await act(id, { extend: { new_size: 2 } })).status, 202)
  await rig.until(`/shares/${id}`, 'share', { status: 'available', size: 2 })
  assert.equal((await rig.call('DELETE', `/snapshots/${snapshot.id}`)).status, 202)
  await rig.gone(`/snapshots/${snapshot.id}`)
})

test('snapshots are taken, described, and keep their share from deletion', async () => {
  const { id } = await rig.create({ name: 'origin' })
  const made = await rig.call('POST', '/snapshots', {
    body: { snapshot: { share_id: id, name: 's1', description: null, force: false, metadata: { a: 'b' } } },
  })
  assert.equal(made.status, 202, JSON.stringify(made.body))
  const snapshot = made.body.snapshot.id
  await rig.until(`/snapshots/${snapshot}`, 'snapshot', { status: 'available' })
  await rig.idle(`snapshot/${snapshot}`)
  const shown = (await rig.call('GET', `/snapshots/${snapshot}`)).body.snapshot
  assert.deepEqual(
    [shown.share_id, shown.size, shown.share_proto, shown.metadata],
    [id, 1, 'NFS', { a: 'b' }],
  )
  assert.ok((await agentOf(id)).flushed.includes(id))
  // Cinder knows nothing of it.
  const cinder = await rig.app.inject({
    method: 'GET',
    url: `/volume/v3/${projectId}/snapshots/detail?all_tenants=1`,
    headers: { 'x-auth-token': 'admin', host: 'volant.test' },
  })
  assert.deepEqual(cinder.json().snapshots, [])
  const listed = (await rig.call('GET', `/snapshots/detail?share_id=${id}`)).body.snapshots
  assert.equal(listed.length, 1)
  assert.equal((await rig.call('GET', `/snapshots?with_count=true`, { version: '2.79' })).body.count, 1)
  await rig.call('PUT', `/snapshots/${snapshot}`, { body: { snapshot: { display_name: 'renamed' } } })
  assert.equal((await rig.call('GET', `/snapshots/${snapshot}`)).body.snapshot.name, 'renamed')
  assert.equal((await rig.call('GET', `/snapshots/${snapshot}`, { as: 'other' })).status, 404)
  await refused(rig.call('DELETE', `/shares/${id}`), 403, /Share still has 1 dependent snapshots/)
  await refused(act(id, { force_delete: null }, 'admin'), 403, /Share still has 1 dependent snapshots/)
  await refused(act(id, { force_delete: null }), 403, /force_delete/)
  const mount = { allow_access: { access_type: 'ip', access_to: '10.0.0.1' } }
  await refused(
    rig.call('POST', `/snapshots/${snapshot}/action`, { body: mount }),
    400,
    /create a share from the snapshot/,
  )
  assert.deepEqual((await rig.call('GET', `/snapshots/${snapshot}/access-list`)).body, {
    snapshot_access_list: [],
  })

  assert.equal((await rig.call('DELETE', `/snapshots/${snapshot}`)).status, 202)
  await rig.gone(`/snapshots/${snapshot}`)
  assert.equal((await rig.call('DELETE', `/shares/${id}`)).status, 202)
  await rig.gone(`/shares/${id}`)
})

async function snapshotOf(id: string, name: string): Promise<string> {
  const { body } = await rig.call('POST', '/snapshots', { body: { snapshot: { share_id: id, name } } })
  await rig.until(`/snapshots/${body.snapshot.id}`, 'snapshot', { status: 'available' })
  await rig.idle(`snapshot/${body.snapshot.id}`)
  return body.snapshot.id
}

test('a share is made of a snapshot; a share goes back to its latest one alone', async () => {
  const { id } = await rig.create({ name: 'first' })
  const older = await snapshotOf(id, 'older')
  const latest = await snapshotOf(id, 'latest')
  const from = await rig.create({ snapshot_id: older, size: null })
  const made = (await rig.call('GET', `/shares/${from.id}`)).body.share
  assert.deepEqual([made.size, made.snapshot_id], [1, older])
  await refused(
    rig.call('POST', '/shares', {
      as: 'other',
      body: { share: { share_proto: 'NFS', size: 1, snapshot_id: older } },
    }),
    404,
    /Snapshot .* could not be found/,
  )
  await refused(
    act(id, { revert: { snapshot_id: older } }),
    409,
    /is not the most recent snapshot.*latest snapshot is/,
  )
  await refused(act(from.id, { revert: { snapshot_id: latest } }), 400, /is not associated with share/)
  await refused(act(id, { revert: { snapshot_id: 'nope' } }), 400, /could not be found/)
  assert.equal((await act(id, { revert: { snapshot_id: latest } })).status, 202)
  await rig.until(`/shares/${id}`, 'share', { status: 'available' })
  await rig.idle(`share/${id}`)
  assert.equal((await rig.call('GET', `/snapshots/${latest}`)).body.snapshot.status, 'available')
})

test("an administrator's resets repair the record, and never lie", async () => {
  const { id } = await rig.create()
  assert.equal((await act(id, { reset_status: { status: 'error' } }, 'admin')).status, 202)
  assert.equal((await rig.call('GET', `/shares/${id}`)).body.share.status, 'error')
  await refused(act(id, { reset_status: { status: 'error' } }), 403, /reset_status/)
  await refused(act(id, { reset_status: { status: 'blue' } }, 'admin'), 400, /Invalid state 'blue'/)
  await refused(act(id, { reset_status: { status: 'migrating' } }, 'admin'), 400, /No operation/)
  assert.equal((await act(id, { reset_status: { status: 'available' } }, 'admin')).status, 202)
  const experimental = await rig.call('POST', `/shares/${id}/action`, {
    as: 'admin',
    experimental: true,
    body: { reset_task_state: { task_state: 'migration_error' } },
  })
  assert.equal(experimental.status, 202)
  assert.equal((await rig.call('GET', `/shares/${id}`)).body.share.task_state, 'migration_error')
  await refused(act(id, { soft_delete: null }), 400, /recycle bin/)
  await refused(act(id, { unmanage: null }, 'admin'), 400, /not supported/)
  await refused(act(id, { dance: null }), 400, /There is no such action/)
})
