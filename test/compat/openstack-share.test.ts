import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { host, lif, otherHost } from '../integration/share-rig.ts'
import { openManila, type ManilaClient } from './manila-rig.ts'

/** Debian's `openstack share`, unmodified; over simulated nodes. */
let client: ManilaClient
before(async () => {
  client = await openManila()
})
after(() => client.stop())

type Row = Record<string, unknown>
const openstack = async (...args: string[]): Promise<void> => {
  const result = await client.cloud.run('openstack', ['share', ...args])
  assert.equal(result.code, 0, `openstack share ${args.join(' ')}: ${result.stderr}`)
}
const json = <T = Row>(...args: string[]) => client.cloud.json<T>('openstack', ['share', ...args])

test('share type, create, show, access, resize, snapshot, migration and delete', async () => {
  await openstack('type', 'create', 'lma', 'false', '--extra-specs', 'share_backend_name=manila-lma')
  await openstack('type', 'set', 'lma', '--extra-specs', 'snapshot_support=True')
  const made = await json('create', 'NFS', '1', '--name', 'docs', '--share-type', 'lma', '--wait')
  const id = String(made['id'])
  const shown = await json('show', 'docs')
  assert.deepEqual([shown['status'], shown['share_type_name']], ['available', 'lma'])
  const first = String(shown['host'])
  const destination = first === host ? otherHost : host
  const locations = await json<Row[]>('export', 'location', 'list', 'docs')
  assert.deepEqual(
    locations.map((one) => one['Path']),
    [`${lif}:/share_${id.replaceAll('-', '_')}`],
  )
  const rule = await json('access', 'create', 'docs', 'ip', '10.0.0.0/24', '--access-level', 'ro', '--wait')
  const rules = await json<Row[]>('access', 'list', 'docs')
  assert.deepEqual(
    rules.map((one) => [one['ID'], one['Access To'], one['Access Level'], one['State']]),
    [[rule['id'], '10.0.0.0/24', 'ro', 'active']],
  )
  await openstack('resize', 'docs', '2', '--wait')
  await client.idle(id)
  const snapshot = await json('snapshot', 'create', 'docs', '--name', 's1', '--wait')
  const snapshots = await json<Row[]>('snapshot', 'list')
  assert.deepEqual(
    snapshots.map((one) => [one['ID'], one['Name']]),
    [[snapshot['id'], 's1']],
  )
  await client.rig.idle(`snapshot/${String(snapshot['id'])}`)

  const wishes = ['--writable', 'True', '--nondisruptive', 'True', '--preserve-metadata', 'True']
  await openstack('migration', 'start', 'docs', destination, ...wishes, '--preserve-snapshots', 'True')
  await client.taskState(id, 'migration_driver_phase1_done')
  const progress = await json('migration', 'show', 'docs')
  assert.equal(progress['total_progress'], 100)
  await openstack('migration', 'complete', 'docs')
  await client.taskState(id, 'migration_success')
  await client.idle(id)
  const moved = await json('show', 'docs')
  assert.deepEqual([moved['host'], moved['size'], moved['status']], [destination, 2, 'available'])

  await openstack('snapshot', 'delete', 's1', '--wait')
  await openstack('delete', 'docs', '--wait')
  assert.deepEqual(await json<Row[]>('list'), [])
})

test('pools, services, quotas and limits', async () => {
  const pools = await json<Row[]>('pool', 'list', '--backend', 'manila-lma')
  assert.deepEqual(
    pools.map((pool) => pool['Name']),
    [host, otherHost],
  )
  const services = await json<Row[]>('service', 'list')
  assert.deepEqual(
    services.map((service) => service['Binary']),
    ['manila-scheduler', 'manila-share', 'manila-share'],
  )
  await openstack('quota', 'set', 'admin', '--shares', '66')
  assert.equal((await json('quota', 'show', 'admin'))['shares'], 66)
  const limits = await json<Row[]>('limits', 'show', '--absolute')
  assert.ok(limits.some((one) => one['Name'] === 'maxTotalShares' && one['Value'] === 66))
})
