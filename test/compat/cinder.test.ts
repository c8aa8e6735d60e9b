import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { pino } from 'pino'
import { createImages } from '../../packages/control/src/http/image/service.ts'
import { systemClock } from '../../packages/control/src/ports/clock.ts'
import { openVolumeRig, type VolumeRig } from '../integration/volume-rig.ts'
import { startCloud, type Cloud } from './stock-client.ts'

/** Debian's `cinder` and `openstack volume`, unmodified; over simulated nodes. */
let cloud: Cloud
let rig: VolumeRig
before(async () => {
  cloud = await startCloud(async ({ db, identity, stateDir }) => {
    rig = await openVolumeRig({ tokens: identity.tokens })
    const images = await createImages({
      db,
      stateDir,
      clock: systemClock,
      log: pino({ level: 'silent' }),
      tokens: identity.tokens,
    })
    return [rig.service, images.service]
  })
})
after(async () => {
  await cloud.stop()
  await rig.stop()
})

/** The rows of a table as the client prints it. */
function tableOf(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    )
}

const properties = (text: string): Record<string, string> =>
  Object.fromEntries(tableOf(text).map(([key = '', value = '']) => [key, value]))

async function cinder(...args: string[]): Promise<string> {
  const result = await cloud.run('cinder', args)
  assert.equal(result.code, 0, result.stderr)
  return result.stdout
}

/** The properties that `cinder show` prints of a real Cinder's volume. */
const shownKeys = [
  'attached_servers',
  'attachment_ids',
  'availability_zone',
  'bootable',
  'cluster_name',
  'consistencygroup_id',
  'consumes_quota',
  'created_at',
  'description',
  'encrypted',
  'group_id',
  'id',
  'metadata',
  'migration_status',
  'multiattach',
  'name',
  'os-vol-host-attr:host',
  'os-vol-mig-status-attr:migstat',
  'os-vol-mig-status-attr:name_id',
  'os-vol-tenant-attr:tenant_id',
  'provider_id',
  'replication_status',
  'service_uuid',
  'shared_targets',
  'size',
  'snapshot_id',
  'source_volid',
  'status',
  'updated_at',
  'user_id',
  'volume_type',
  'volume_type_id',
]

test('cinder create, show, list, migrate, extend, delete', async () => {
  const created = properties(await cinder('create', '--name', 'data', '1'))
  assert.equal(created['size'], '1')
  const id = created['id'] as string
  await rig.world.records.volumes.get(id)

  const shown = properties(await cinder('show', 'data'))
  assert.deepEqual(
    Object.keys(shown).filter((key) => key !== 'Property'),
    shownKeys,
  )
  assert.equal(shown['status'], 'available')
  assert.equal(shown['os-vol-host-attr:host'], 'testhost@cinder-lma#127.250.118.49:/cinder_flexvol_OSTK02')

  const [heading, row] = tableOf(await cinder('list'))
  assert.deepEqual(heading, [
    'ID',
    'Status',
    'Name',
    'Size',
    'Consumes Quota',
    'Volume Type',
    'Bootable',
    'Attached to',
  ])
  assert.deepEqual(row, [id, 'available', 'data', '1', 'True', '__DEFAULT__', 'false', ''])

  const target = 'testhost@cinder-lmb#127.250.118.51:/cinder_flexvol_OSTK09'
  await cinder('migrate', '--force-host-copy', 'True', '--lock-volume', 'True', 'data', target)
  assert.deepEqual(rig.migrations.started, [
    { volumeId: id, host: target, forceHostCopy: true, lockVolume: true },
  ])

  await cinder('extend', 'data', '2')
  assert.equal((await rig.world.records.volumes.get(id)).sizeGib, 2)
  await cinder('delete', 'data')
  for (let i = 0; i < 3000 && (await rig.world.records.volumes.find(id)) !== undefined; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  assert.equal(await rig.world.records.volumes.find(id), undefined)
})

test('cinder get-pools, service-list and type-list', async () => {
  const pools = await cinder('get-pools', '--detail')
  const capabilities = properties(pools)
  assert.match(pools, /testhost@cinder-lma#127\.250\.118\.49:\/cinder_flexvol_OSTK02/)
  for (const key of ['total_capacity_gb', 'free_capacity_gb', 'allocated_capacity_gb', 'backend_state']) {
    assert.ok(capabilities[key], key)
  }
  const services = tableOf(await cinder('service-list'))
  assert.deepEqual(
    services.slice(1).map((row) => [row[0], row[1], row[3], row[4]]),
    [
      ['cinder-scheduler', 'testhost', 'enabled', 'up'],
      ['cinder-volume', 'testhost@cinder-lma', 'enabled', 'up'],
      ['cinder-volume', 'testhost@cinder-lmb', 'enabled', 'up'],
    ],
  )
  assert.match(await cinder('type-list'), /__DEFAULT__/)
})

test('openstack volume create, show and migrate, without discovery and microversion', async () => {
  const { id } = await cloud.json<{ id: string }>('openstack', ['volume', 'create', '--size', '1', 'second'])
  const shown = await cloud.json<Record<string, unknown>>('openstack', ['volume', 'show', 'second'])
  assert.equal(shown['id'], id)
  assert.equal(shown['status'], 'available')
  const target = 'testhost@cinder-lmb#127.250.118.51:/cinder_flexvol_OSTK09'
  const moved = await cloud.run('openstack', ['volume', 'migrate', '--host', target, 'second'])
  assert.equal(moved.code, 0, moved.stderr)
  assert.deepEqual(rig.migrations.started.at(-1), {
    volumeId: id,
    host: target,
    forceHostCopy: false,
    lockVolume: false,
  })
})
