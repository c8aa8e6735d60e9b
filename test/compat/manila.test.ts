import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { host, lif, otherHost } from '../integration/share-rig.ts'
import { openManila, propertiesOf, rowsOf, type ManilaClient } from './manila-rig.ts'

/** Debian's `manila`, unmodified; over simulated nodes. */
let client: ManilaClient
before(async () => {
  client = await openManila()
})
after(() => client.stop())

const manila = (...args: string[]) => client.manila(...args)
const refused = (reason: RegExp, ...args: string[]) => client.refused(reason, ...args)
const shown = (name: string) => client.shown(name)

test('the transcript of a migration: create, allow, list, show, pools, start, progress, complete; and cancel', async () => {
  const type = ['type-create', 'lma', 'False', '--snapshot_support', 'True']
  await manila(...type, '--extra-specs', 'share_backend_name=manila-lma', 'revert_to_snapshot_support=True')
  const made = propertiesOf(
    await manila('create', 'NFS', '1', '--name', 'docs', '--share-type', 'lma', '--wait'),
  )
  const id = made['id'] ?? ''
  const first = (await shown('docs'))['host'] ?? ''
  assert.ok([host, otherHost].includes(first), first)
  const destination = first === host ? otherHost : host
  await manila('access-allow', 'docs', 'ip', '10.0.0.0/24', '--access-level', 'rw', '--wait')
  const [head, rule] = rowsOf(await manila('access-list', 'docs'))
  assert.deepEqual(head?.slice(1, 5), ['access_type', 'access_to', 'access_level', 'state'])
  assert.deepEqual(rule?.slice(1, 5), ['ip', '10.0.0.0/24', 'rw', 'active'])
  const listed = rowsOf(await manila('list', '--columns', 'id,name,status,host'))
  assert.deepEqual(listed.slice(1), [[id, 'docs', 'available', first]])
  const before = await shown('docs')
  const path = `${lif}:/share_${id.replaceAll('-', '_')}`
  assert.match(before['export_locations'] ?? '', /^$|path/)
  assert.ok((await manila('share-export-location-list', 'docs')).includes(path))
  const pools = rowsOf(await manila('pool-list', '--backend', 'manila-lma'))
  assert.deepEqual(
    pools.slice(1).map((row) => row[0]),
    [host, otherHost],
  )

  const wishes = ['--writable', 'True', '--nondisruptive', 'True', '--preserve-metadata', 'True']
  const start = ['migration-start', ...wishes, '--preserve-snapshots', 'True', 'docs']
  await manila(...start, destination)
  await client.taskState(id, 'migration_driver_phase1_done')
  const progress = propertiesOf(await manila('migration-get-progress', 'docs'))
  assert.deepEqual(
    [progress['total_progress'], progress['task_state']],
    ['100', 'migration_driver_phase1_done'],
  )
  assert.equal((await shown('docs'))['status'], 'migrating')
  await manila('migration-complete', 'docs')
  await client.taskState(id, 'migration_success')
  await client.idle(id)
  const after = await shown('docs')
  assert.deepEqual(
    [after['host'], after['status'], after['task_state']],
    [destination, 'available', 'migration_success'],
  )
  assert.ok((await manila('share-export-location-list', 'docs')).includes(path))

  await manila(...start, first)
  await client.taskState(id, 'migration_driver_phase1_done')
  await manila('migration-cancel', 'docs')
  await client.taskState(id, 'migration_cancelled')
  await client.idle(id)
  const stayed = await shown('docs')
  assert.deepEqual(
    [stayed['host'], stayed['status'], stayed['task_state']],
    [destination, 'available', 'migration_cancelled'],
  )
  await refused(/was already cancelled/, 'migration-complete', 'docs')
  await refused(/could not be found/, ...start, 'testhost@manila-x#aggr1')
  await refused(/Create a share there and copy the files/, ...start, 'testhost@manila-lmb#aggr1')
})

test('types, quotas, limits, services, pools, messages, and what there is none of', async () => {
  await manila('type-create', 'private', 'False', '--is_public', 'False', '--description', 'd')
  await manila('type-access-add', 'private', '0123456789abcdef0123456789abcdef')
  assert.match(await manila('type-access-list', 'private'), /0123456789abcdef0123456789abcdef/)
  await manila('type-access-remove', 'private', '0123456789abcdef0123456789abcdef')
  await manila('type-key', 'private', 'set', 'volant:root_squash=False')
  assert.match(await manila('extra-specs-list'), /volant:root_squash : False/)
  await refused(/driver_handles_share_servers=True/, 'type-create', 'dhss', 'True')
  await manila('type-delete', 'private')
  assert.match(await manila('type-list', '--all'), /default .*public .*YES/)

  await manila('quota-update', 'p', '--shares', '7')
  assert.equal(propertiesOf(await manila('quota-show', '--tenant', 'p'))['shares'], '7')
  await manila('quota-update', 'p', '--shares', '5', '--share-type', 'default')
  assert.match(
    await manila('quota-show', '--tenant', 'p', '--share-type', 'default', '--detail'),
    /limit = 5/,
  )
  await manila('quota-delete', '--tenant', 'p')
  assert.equal(propertiesOf(await manila('quota-show', '--tenant', 'p'))['shares'], '50')
  await manila('quota-class-update', 'default', '--snapshots', '60')
  assert.equal(propertiesOf(await manila('quota-class-show', 'default'))['snapshots'], '60')
  assert.match(await manila('absolute-limits'), /maxTotalShares .*50/)

  await manila('service-disable', 'testhost@manila-lmb', 'manila-share')
  const disabled = rowsOf(await manila('service-list', '--status', 'disabled', '--columns', 'host,state'))
  assert.deepEqual(disabled.slice(1), [['testhost@manila-lmb', 'up']])
  await manila('service-enable', 'testhost@manila-lmb', 'manila-share')
  const detail = await manila('pool-list', '--detail', '--pool', 'aggr2', '--backend', 'manila-lma')
  assert.match(detail, /total_capacity_gb .*1024/)
  assert.match(detail, /share_backend_name .*manila-lma/)
  assert.match(await manila('availability-zone-list'), /nova/)
  for (const none of ['message-list', 'share-network-list', 'share-server-list', 'security-service-list']) {
    assert.equal(rowsOf(await manila(none)).length, 1, none)
  }
  await refused(/Share network creation is not supported/, 'share-network-create', '--name', 'n')
})
