import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { openManila, propertiesOf, rowsOf, until, type ManilaClient } from './manila-rig.ts'

/** Debian's `manila`, unmodified; over simulated nodes. */
let client: ManilaClient
before(async () => {
  client = await openManila()
})
after(() => client.stop())

const manila = (...args: string[]) => client.manila(...args)
const refused = (reason: RegExp, ...args: string[]) => client.refused(reason, ...args)
const shown = (name: string) => client.shown(name)

test('shares: metadata, update, extend, shrink, states, filters, delete', async () => {
  await manila('create', 'NFS', '1', '--name', 'papers', '--metadata', 'a=b', '--wait')
  const { id = '' } = await shown('papers')
  await manila('metadata', 'papers', 'set', 'x=y')
  await manila('metadata', 'papers', 'unset', 'a')
  assert.match(await manila('metadata-show', 'papers'), /x .*y/)
  await manila('update', 'papers', '--name', 'sheets', '--description', 'of paper')
  await manila('extend', 'sheets', '2', '--wait')
  const extended = await shown('sheets')
  assert.deepEqual([extended['size'], extended['description']], ['2', 'of paper'])
  await refused(/its file system is XFS, which does not shrink/, 'shrink', 'sheets', '1')
  const found = rowsOf(await manila('list', '--name~', 'shee', '--metadata', 'x=y', '--columns', 'id'))
  assert.deepEqual(found.slice(1), [[id]])
  await manila('reset-state', 'sheets', '--state', 'error')
  assert.equal((await shown('sheets'))['status'], 'error')
  await manila('reset-state', 'sheets', '--state', 'available')
  await manila('reset-task-state', 'sheets', '--state', 'migration_error')
  assert.equal((await shown('sheets'))['task_state'], 'migration_error')
  await refused(/does not authenticate users/, 'access-allow', 'sheets', 'user', 'alice')
  await manila('access-allow', 'sheets', 'ip', '10.0.0.1', '--wait')
  await refused(/Share access ip:10\.0\.0\.1 exists/, 'access-allow', 'sheets', 'ip', '10.0.0.1')
  const [, rule] = rowsOf(await manila('access-list', 'sheets', '--columns', 'id'))
  await manila('access-deny', 'sheets', rule?.[0] ?? '')
  await until('the rule is gone', async () => {
    const rules = await client.rig.world.db.selectFrom('share_access_rules').selectAll().execute()
    return rules.every(({ share_id }) => share_id !== id)
  })
  await client.rig.idle(`share/${id}`)
  assert.equal(rowsOf(await manila('access-list', 'sheets')).length, 1)
  await manila('delete', 'sheets', '--wait')
  await refused(/No share with a name or ID of 'sheets'/, 'show', 'sheets')
})

test('a snapshot that can be mounted: where it is, who may, and no longer', async () => {
  const type = [
    'type-create',
    'shown',
    'False',
    '--snapshot_support',
    'True',
    '--mount-snapshot-support',
    'True',
  ]
  await manila(...type, '--extra-specs', 'share_backend_name=manila-lma')
  await manila('create', 'NFS', '1', '--name', 'album', '--share-type', 'shown', '--wait')
  const snapshot = propertiesOf(await manila('snapshot-create', 'album', '--name', 'page'))['id'] ?? ''
  const isMade = async (id: string) =>
    (await client.rig.world.records.snapshots.find(id))?.status === 'available'
  await until('the snapshot is available', () => isMade(snapshot))
  await client.rig.idle(`snapshot/${snapshot}`)
  const path = `127.250.118.60:/snapshot_${snapshot.replaceAll('-', '_')}`
  const [, location] = rowsOf(await manila('snapshot-export-location-list', 'page'))
  assert.ok(location !== undefined && location.includes(path), String(location))
  const shownAt = propertiesOf(await manila('snapshot-export-location-show', 'page', location[0] ?? ''))
  assert.equal(shownAt['path'], path)
  const allowed = propertiesOf(await manila('snapshot-access-allow', 'page', 'ip', '10.0.0.0/24'))
  assert.deepEqual([allowed['access_to'], allowed['state']], ['10.0.0.0/24', 'queued_to_apply'])
  await client.rig.idle(`snapshot-access/${snapshot}`)
  const [, rule] = rowsOf(await manila('snapshot-access-list', 'page'))
  assert.deepEqual(rule?.slice(1), ['ip', '10.0.0.0/24', 'active'])
  await refused(/exists/, 'snapshot-access-allow', 'page', 'ip', '10.0.0.0/24')
  await manila('snapshot-access-deny', 'page', rule?.[0] ?? '')
  await client.rig.idle(`snapshot-access/${snapshot}`)
  assert.equal(rowsOf(await manila('snapshot-access-list', 'page')).length, 1)
  await manila('create', 'NFS', '1', '--name', 'plainly', '--wait')
  const leaf = propertiesOf(await manila('snapshot-create', 'plainly', '--name', 'leaf'))['id'] ?? ''
  await until('the other one is available', () => isMade(leaf))
  await refused(/does not support mounting/, 'snapshot-access-allow', 'leaf', 'ip', '10.0.0.1')
  await manila('snapshot-delete', 'leaf', 'page')
  for (const one of [leaf, snapshot]) {
    await until('it is gone', async () => (await client.rig.world.records.snapshots.find(one)) === undefined)
  }
})

test('snapshots: create, list, show, rename, states, revert, a share of one, delete', async () => {
  await manila('create', 'NFS', '1', '--name', 'origin', '--wait')
  const { id = '' } = await shown('origin')
  const made = propertiesOf(await manila('snapshot-create', 'origin', '--name', 's1'))
  const snapshot = made['id'] ?? ''
  const state = async () => (await client.rig.world.records.snapshots.find(snapshot))?.status
  await until('the snapshot is available', async () => (await state()) === 'available')
  await client.rig.idle(`snapshot/${snapshot}`)
  await manila('snapshot-rename', 's1', 's2')
  const seen = propertiesOf(await manila('snapshot-show', 's2'))
  assert.deepEqual([seen['share_id'], seen['size'], seen['status']], [id, '1', 'available'])
  assert.deepEqual(rowsOf(await manila('snapshot-list', '--columns', 'id,name')).slice(1), [[snapshot, 's2']])
  await manila('revert-to-snapshot', 's2')
  await until('the share is available again', async () => (await shown('origin'))['status'] === 'available')
  await client.rig.idle(`share/${id}`)
  await manila('create', 'NFS', '1', '--name', 'child', '--snapshot-id', 's2', '--wait')
  assert.equal((await shown('child'))['snapshot_id'], snapshot)
  await refused(/dependent snapshots/, 'delete', 'origin')
  await manila('snapshot-reset-state', 's2', '--state', 'error')
  await manila('snapshot-delete', 's2')
  await until('the snapshot is gone', async () => (await state()) === undefined)
  await manila('delete', 'origin', 'child', '--wait')
})
