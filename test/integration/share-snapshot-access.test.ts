import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { openShareRig, lif, host, otherHost, type ShareRig } from './share-rig.ts'

/** Snapshots that can be mounted: rules, where they are, and what moves and ends with them. */
let rig: ShareRig
before(async () => {
  rig = await openShareRig()
  const extra_specs = {
    driver_handles_share_servers: false,
    snapshot_support: true,
    mount_snapshot_support: true,
    revert_to_snapshot_support: true,
    share_backend_name: 'manila-lma',
  }
  const made = await rig.call('POST', '/types', {
    as: 'admin',
    body: { share_type: { name: 'shown', extra_specs } },
  })
  assert.equal(made.status, 200, JSON.stringify(made.body))
})
after(() => rig.stop())

const act = (id: string, body: unknown) => rig.call('POST', `/snapshots/${id}/action`, { body })
const allow = (id: string, to: string, access_type = 'ip') =>
  act(id, { allow_access: { access_type, access_to: to } })
const deny = (id: string, access_id: string) => act(id, { deny_access: { access_id } })
const rulesOf = async (id: string) =>
  (await rig.call('GET', `/snapshots/${id}/access-list`)).body.snapshot_access_list
const agent = () => rig.world.agents.shares('lma-01')

async function refused(
  answer: Promise<{ status: number; body: unknown }>,
  status: number,
  reason: RegExp,
): Promise<void> {
  const { status: got, body } = await answer
  assert.equal(got, status, JSON.stringify(body))
  assert.match(JSON.stringify(body), reason)
}

async function snapshotOf(shareType: string) {
  const { id } = await rig.create({ share_type: shareType })
  const { body } = await rig.call('POST', '/snapshots', { body: { snapshot: { share_id: id, name: 's' } } })
  const snapshot = String(body.snapshot.id)
  await rig.until(`/snapshots/${snapshot}`, 'snapshot', { status: 'available' })
  await rig.idle(`snapshot/${snapshot}`)
  return { id, snapshot }
}

async function allowed(snapshot: string, to: string): Promise<string> {
  const made = await allow(snapshot, to)
  assert.equal(made.status, 202, JSON.stringify(made.body))
  await rig.idle(`snapshot-access/${snapshot}`)
  return String(made.body.snapshot_access.id)
}

const exported = async (snapshot: string) => (await agent().shareStatus(snapshot)).export

test('a snapshot is exported, read-only, while it has a rule', async () => {
  const { id, snapshot } = await snapshotOf('shown')
  assert.equal((await rig.call('GET', `/shares/${id}`)).body.share.mount_snapshot_support, true)
  const path = `${lif}:/snapshot_${snapshot.replaceAll('-', '_')}`
  const listed = (await rig.call('GET', `/snapshots/${snapshot}/export-locations`)).body
  const [location] = listed.share_snapshot_export_locations
  assert.equal(location.path, path)
  const one = await rig.call('GET', `/snapshots/${snapshot}/export-locations/${location.id}`)
  assert.equal(one.body.share_snapshot_export_location.path, path)
  await refused(rig.call('GET', `/snapshots/${snapshot}/export-locations/nope`), 404, /could not be found/)

  assert.equal(await exported(snapshot), undefined)
  const first = await allowed(snapshot, '10.0.0.7/32')
  assert.deepEqual(
    (await rulesOf(snapshot)).map((rule: Record<string, string>) => [rule['access_to'], rule['state']]),
    [['10.0.0.7', 'active']],
  )
  assert.deepEqual((await exported(snapshot))?.clients, [{ to: '10.0.0.7', level: 'ro' }])
  await refused(allow(snapshot, '10.0.0.7'), 400, /snapshot access ip:10\.0\.0\.7 exists/)
  await refused(allow(snapshot, '10.0.0.1/24'), 400, /has host bits set/)
  await refused(allow(snapshot, 'alice', 'user'), 400, /does not authenticate users/)
  await refused(deny(snapshot, 'nope'), 404, /could not be found/)
  const foreign = await rig.call('GET', `/snapshots/${snapshot}/access-list`, { as: 'other' })
  assert.equal(foreign.status, 404)
  const second = await allowed(snapshot, '10.0.0.0/24')
  assert.equal((await exported(snapshot))?.clients.length, 2)

  assert.equal((await deny(snapshot, first)).status, 202)
  await rig.idle(`snapshot-access/${snapshot}`)
  assert.deepEqual((await exported(snapshot))?.clients, [{ to: '10.0.0.0/24', level: 'ro' }])
  assert.equal((await deny(snapshot, second)).status, 202)
  await rig.idle(`snapshot-access/${snapshot}`)
  assert.deepEqual(await agent().shareStatus(snapshot), { shareId: snapshot })
  assert.deepEqual(await rulesOf(snapshot), [])
  assert.equal(
    (await rig.world.db.selectFrom('volumes').select('id').where('share_id', '=', id).execute()).length,
    1,
  )
})

test('where the type does not say so it is refused, and nothing is shown', async () => {
  const { snapshot } = await snapshotOf('default')
  await refused(allow(snapshot, '10.0.0.1'), 400, /does not support mounting its snapshots/)
  const { body } = await rig.call('GET', `/snapshots/${snapshot}/export-locations`)
  assert.deepEqual(body.share_snapshot_export_locations, [])
})

test('its deletion takes its rules and its export along; so does none of a revert', async () => {
  const { id, snapshot } = await snapshotOf('shown')
  await allowed(snapshot, '10.0.0.1')
  const revert = { revert: { snapshot_id: snapshot } }
  assert.equal((await rig.call('POST', `/shares/${id}/action`, { body: revert })).status, 202)
  await rig.until(`/shares/${id}`, 'share', { status: 'available' })
  await rig.idle(`share/${id}`)
  assert.equal((await exported(snapshot))?.clients.length, 1)
  assert.equal((await rig.call('DELETE', `/snapshots/${snapshot}`)).status, 202)
  await rig.gone(`/snapshots/${snapshot}`)
  assert.deepEqual(await agent().shareStatus(snapshot), { shareId: snapshot })
  await rig.idle(`snapshot/${snapshot}`)
  assert.equal((await rig.call('DELETE', `/shares/${id}`)).status, 202)
  await rig.gone(`/shares/${id}`)
})

test('it stays shown through a migration, and goes along', async () => {
  const { id, snapshot } = await snapshotOf('shown')
  const first = await allowed(snapshot, '10.0.0.1')
  const from = (await rig.call('GET', `/shares/${id}`, { as: 'admin' })).body.share.host
  const start = {
    host: from === host ? otherHost : host,
    ...{ force_host_assisted_migration: false, preserve_metadata: true, writable: true },
    ...{ nondisruptive: true, preserve_snapshots: true },
  }
  const share = (body: unknown) =>
    rig.call('POST', `/shares/${id}/action`, { as: 'admin', experimental: true, body })
  const started = await share({ migration_start: start })
  assert.equal(started.status, 202, JSON.stringify(started.body))
  await rig.until(`/shares/${id}`, 'share', { task_state: 'migration_driver_phase1_done' })
  const second = await allowed(snapshot, '10.0.0.2')
  assert.equal((await exported(snapshot))?.clients.length, 2, 'rules change meanwhile')
  const kinds = rig.world.db.selectFrom('operations').select(['kind', 'state'])
  const parts = await kinds.where('kind', '=', 'volume.relocate').execute()
  assert.deepEqual(
    parts.map(({ state }) => state),
    ['waiting', 'waiting'],
    'nothing that is in sync gives way for it',
  )
  assert.equal((await share({ migration_complete: null })).status, 202)
  await rig.until(`/shares/${id}`, 'share', { task_state: 'migration_success' })
  await rig.idle(`share-migration/${id}`)
  const shown = await rig.world.db
    .selectFrom('shown_snapshots')
    .innerJoin('volumes', 'volumes.id', 'shown_snapshots.volume_id')
    .innerJoin('copies', 'copies.image_id', 'volumes.image_id')
    .select(['copies.aggregate', 'shown_snapshots.export_id'])
    .where('shown_snapshots.snapshot_id', '=', snapshot)
    .executeTakeFirstOrThrow()
  assert.equal(shown.aggregate, start.host.split('#')[1])
  assert.equal((await exported(snapshot))?.exportId, shown.export_id)
  for (const rule of [first, second]) {
    assert.equal((await deny(snapshot, rule)).status, 202)
    await rig.idle(`snapshot-access/${snapshot}`)
  }
  assert.deepEqual(await agent().shareStatus(snapshot), { shareId: snapshot })
})
