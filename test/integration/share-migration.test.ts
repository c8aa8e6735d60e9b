import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { host, otherHost, openShareRig, type ShareRig } from './share-rig.ts'

/** A share migrates in two phases; its export location, rules and snapshots stay. */
let rig: ShareRig
let pinned: string
before(async () => {
  rig = await openShareRig()
  // The scheduler would choose either cluster.
  const made = await rig.call('POST', '/types', {
    as: 'admin',
    body: {
      share_type: {
        name: 'lma',
        extra_specs: {
          driver_handles_share_servers: false,
          snapshot_support: true,
          share_backend_name: 'manila-lma',
        },
      },
    },
  })
  assert.equal(made.status, 200, JSON.stringify(made.body))
  pinned = made.body.share_type.id
})
after(() => rig.stop())

const act = (
  id: string,
  body: unknown,
  options: { as?: string; experimental?: boolean; version?: string } = {},
) => rig.call('POST', `/shares/${id}/action`, { as: 'admin', experimental: true, body, ...options })

const wishes = {
  host: otherHost,
  force_host_assisted_migration: false,
  preserve_metadata: true,
  preserve_snapshots: true,
  writable: true,
  nondisruptive: true,
  new_share_network_id: null,
  new_share_type_id: null,
}
const start = (id: string, changed: Record<string, unknown> = {}) =>
  act(id, { migration_start: { ...wishes, ...changed } })
const taskState = (id: string, task_state: string) => rig.until(`/shares/${id}`, 'share', { task_state })
const shown = async (id: string) => (await rig.call('GET', `/shares/${id}`, { as: 'admin' })).body.share
const settled = async (id: string) => {
  await rig.until(`/shares/${id}`, 'share', { status: 'available' })
  await rig.idle(`share-migration/${id}`)
}
/** On the first cluster's first aggregate, whatever others are there. */
async function shareThere(name: string): Promise<string> {
  const { id } = await rig.create({ name, share_type: pinned })
  if ((await shown(id)).host === host) return id
  assert.equal((await start(id, { host })).status, 202)
  await taskState(id, 'migration_driver_phase1_done')
  await act(id, { migration_complete: null })
  await taskState(id, 'migration_success')
  await settled(id)
  return id
}

async function refused(
  answer: Promise<{ status: number; body: unknown }>,
  status: number,
  reason: RegExp,
): Promise<void> {
  const { status: got, body } = await answer
  assert.equal(got, status, JSON.stringify(body))
  assert.match(JSON.stringify(body), reason)
}

test('the whole way: in sync, held, completed; the export location stays', async () => {
  const id = await shareThere('travels')
  const taken = await rig.call('POST', '/snapshots', { body: { snapshot: { share_id: id, name: 's' } } })
  await rig.until(`/snapshots/${taken.body.snapshot.id}`, 'snapshot', { status: 'available' })
  await rig.idle(`snapshot/${taken.body.snapshot.id}`)
  const locations = (await rig.call('GET', `/shares/${id}/export_locations`)).body
  assert.equal((await start(id)).status, 202)
  const begun = await shown(id)
  assert.equal(begun.status, 'migrating')
  assert.match(begun.task_state, /^migration_/)
  await taskState(id, 'migration_driver_phase1_done')
  const progress = await act(id, { migration_get_progress: null })
  assert.equal(progress.status, 200)
  assert.deepEqual(
    [progress.body.total_progress, progress.body.task_state],
    [100, 'migration_driver_phase1_done'],
  )
  assert.ok('details' in progress.body)
  const got = await rig.call('GET', `/shares/${id}/migration-progress`, { as: 'admin', version: '2.98' })
  assert.equal(got.body.total_progress, 100)
  assert.equal((await shown(id)).host, host)
  await refused(start(id), 400, /Share is busy with an active task/)
  await refused(rig.call('DELETE', `/shares/${id}`), 400, /busy/)
  await refused(act(id, { extend: { new_size: 2 } }), 400, /busy/)

  assert.equal((await act(id, { migration_complete: null })).status, 202)
  await taskState(id, 'migration_success')
  await settled(id)
  const after = await shown(id)
  assert.deepEqual(
    [after.host, after.status, after.task_state],
    [otherHost, 'available', 'migration_success'],
  )
  assert.deepEqual(
    (await rig.call('GET', `/shares/${id}/export_locations`)).body.export_locations[0].path,
    locations.export_locations[0].path,
  )
  const snapshot = await rig.world.records.snapshots.get(taken.body.snapshot.id)
  const copy = await rig.world.records.copies.get(snapshot.imageId ?? '')
  assert.equal(copy.aggregate, 'aggr2')
  await refused(act(id, { migration_complete: null }), 400, /has already completed/)
  await refused(act(id, { migration_cancel: null }), 400, /has already completed/)
  const over = await act(id, { migration_get_progress: null })
  assert.deepEqual(
    [over.status, over.body.total_progress, over.body.task_state],
    [200, 100, 'migration_success'],
  )
})

test('a migration is cancelled, and the share is as it was', async () => {
  const id = await shareThere('stays')
  assert.equal((await start(id)).status, 202)
  await taskState(id, 'migration_driver_phase1_done')
  // Rules change meanwhile: clients go on at the same export.
  const rule = await act(id, { allow_access: { access_type: 'ip', access_to: '10.9.9.9' } })
  assert.equal(rule.status, 200, JSON.stringify(rule.body))
  await rig.until(`/share-access-rules/${rule.body.access.id}`, 'access', { state: 'active' })
  assert.equal((await act(id, { migration_cancel: null })).status, 202)
  await taskState(id, 'migration_cancelled')
  await settled(id)
  const after = await shown(id)
  assert.deepEqual([after.host, after.status], [host, 'available'])
  await refused(act(id, { migration_cancel: null }), 400, /was already cancelled/)
  await refused(act(id, { migration_complete: null }), 400, /was already cancelled/)
  const flexvol = (await rig.world.records.flexvols.list()).find(({ shareId }) => shareId === id)
  const places = (await rig.world.records.copies.ofFlexVol(flexvol?.id ?? '')).map(
    ({ aggregate }) => aggregate,
  )
  assert.deepEqual([...new Set(places)], ['aggr1'])
})

test('what cannot migrate is refused with the reason, and stays as it was', async () => {
  const id = await shareThere('fixed')
  const before = await shown(id)
  await refused(act(id, { migration_start: wishes }, { as: 'member' }), 403, /migration_start/)
  await refused(act(id, { migration_start: wishes }, { as: 'other' }), 404, /could not be found/)
  await refused(act(id, { migration_start: wishes }, { experimental: false }), 404, /experimental/)
  await refused(
    act(id, { migration_start: wishes }, { version: '2.28' }),
    404,
    /not supported on this method/,
  )
  for (const missing of ['host', 'preserve_metadata', 'preserve_snapshots', 'writable', 'nondisruptive']) {
    const { [missing as keyof typeof wishes]: _, ...rest } = wishes
    await refused(act(id, { migration_start: rest }), 400, new RegExp(missing))
  }
  await refused(start(id, { writable: 'maybe' }), 400, /writable must be true or false/)
  await refused(start(id, { writable: null }), 400, /writable must be true or false/)
  await refused(start(id, { host: 7 }), 400, /host/)
  await refused(start(id, { host: 'testhost' }), 400, /HOST@BACKEND#POOL/)
  await refused(
    start(id, { host: 'else@manila-lma#aggr2' }),
    404,
    /Service manila-share on host else@manila-lma/,
  )
  await refused(start(id, { host: 'testhost@manila-x#aggr2' }), 404, /There are: testhost@manila-lma/)
  await refused(start(id, { host: 'testhost@manila-lma#aggr9' }), 404, /has the pools aggr1, aggr2/)
  await refused(
    start(id, { host: 'testhost@manila-lmb#aggr1' }),
    400,
    /Create a share there and copy the files/,
  )
  await refused(start(id, { force_host_assisted_migration: true }), 400, /Invalid parameter combination/)
  const plain = { preserve_metadata: false, preserve_snapshots: false, writable: false, nondisruptive: false }
  await refused(
    start(id, { ...plain, force_host_assisted_migration: true }),
    400,
    /Host-assisted migration is not supported/,
  )
  await refused(start(id, { new_share_network_id: 'net' }), 400, /Share network net not found/)
  await refused(start(id, { new_share_type_id: 'nope' }), 400, /Share type nope not found/)
  await refused(act(id, { migration_complete: null }), 400, /no migration being performed|already completed/)
  assert.deepEqual(await shown(id), before)

  await rig.call('PUT', '/services/disable', {
    as: 'admin',
    body: { host: 'testhost@manila-lma', binary: 'manila-share' },
  })
  await refused(start(id), 400, /is disabled/)
  await rig.call('PUT', '/services/enable', {
    as: 'admin',
    body: { host: 'testhost@manila-lma', binary: 'manila-share' },
  })
  await act(id, { reset_status: { status: 'error' } })
  await refused(start(id), 400, /status must be available, but current status is: error/)
  await act(id, { reset_status: { status: 'available' } })
  assert.equal((await shown(id)).host, host)
})

test('a migration to where the share is does nothing, and says that it was done', async () => {
  const id = await shareThere('home')
  const answer = await start(id, { host })
  assert.equal(answer.status, 200)
  const after = await shown(id)
  assert.deepEqual([after.status, after.task_state, after.host], ['available', 'migration_success', host])
})

test('a new type comes into effect with the migration; one that does not fit is refused', async () => {
  const id = await shareThere('typed')
  const typeOf = async (name: string, specs: Record<string, unknown>) => {
    const body = { share_type: { name, extra_specs: { driver_handles_share_servers: false, ...specs } } }
    return (await rig.call('POST', '/types', { as: 'admin', body })).body.share_type.id
  }
  const elsewhere = await typeOf('elsewhere', { share_backend_name: 'manila-lmb' })
  await refused(start(id, { new_share_type_id: elsewhere }), 400, /asks for share_backend_name=manila-lmb/)
  const large = await typeOf('large', { 'provisioning:min_share_size': 10 })
  await refused(start(id, { new_share_type_id: large }), 400, /less than the minimum required size of '10'/)
  const open = await typeOf('open', { snapshot_support: true, 'volant:root_squash': false })
  await refused(start(id, { host, new_share_type_id: open }), 400, /does not change its type where it is/)
  assert.equal((await start(id, { new_share_type_id: open })).status, 202)
  await taskState(id, 'migration_driver_phase1_done')
  assert.equal((await shown(id)).share_type_name, 'lma')
  await act(id, { migration_complete: null })
  await taskState(id, 'migration_success')
  await settled(id)
  const after = await shown(id)
  assert.deepEqual(
    [after.share_type_name, after.host, after.revert_to_snapshot_support],
    ['open', otherHost, false],
  )
})
