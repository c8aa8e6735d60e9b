import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { pino } from 'pino'
import { createImages } from '../../packages/control/src/http/image/service.ts'
import { systemClock } from '../../packages/control/src/ports/clock.ts'
import { contentOf, imageIn } from '../../packages/control/src/testing/snapshots.ts'
import { openVolumeRig, type VolumeRig } from '../integration/volume-rig.ts'
import { startCloud, type Cloud } from './stock-client.ts'

/** Debian's `cinder` and `openstack volume snapshot`, unmodified; over simulated nodes. */
let cloud: Cloud
let rig: VolumeRig
before(async () => {
  cloud = await startCloud(async ({ db, identity, stateDir }) => {
    rig = await openVolumeRig({ tokens: identity.tokens })
    const log = pino({ level: 'silent' })
    const images = await createImages({ db, stateDir, clock: systemClock, log, tokens: identity.tokens })
    return [rig.service, images.service]
  })
})
after(async () => {
  await cloud.stop()
  await rig.stop()
})

async function cinder(...args: string[]): Promise<string> {
  const result = await cloud.run('cinder', args)
  assert.equal(result.code, 0, result.stderr)
  return result.stdout
}

/** The rows of a table as the client prints it. */
const rowsOf = (text: string): string[][] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    )
const propertiesOf = (text: string): Record<string, string> =>
  Object.fromEntries(rowsOf(text).map(([key = '', value = '']) => [key, value]))

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let look = 0; look < 1000; look++) {
    if (await holds()) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error(`it never came true: ${what}`)
}
const available = (id: string) =>
  until(`snapshot ${id} is available`, async () => {
    const snapshot = await rig.world.records.snapshots.find(id)
    return snapshot?.status === 'available' && (await rig.store.holderOf(`snapshot/${id}`)) === undefined
  })
const gone = (id: string) =>
  until(`snapshot ${id} is gone`, async () => (await rig.world.records.snapshots.find(id)) === undefined)
const volumeAvailable = (id: string) =>
  until(`volume ${id} is available`, async () => {
    const volume = await rig.world.records.volumes.find(id)
    return volume?.status === 'available' && (await rig.store.holderOf(`volume/${id}`)) === undefined
  })

async function write(volumeId: string, content: string): Promise<void> {
  const { imageId } = await rig.world.records.volumes.get(volumeId)
  const image = imageIn(rig.world, imageId ?? '')
  assert.ok(image)
  image.content = content
}
const contentOfVolume = async (volumeId: string) =>
  contentOf(rig.world, (await rig.world.records.volumes.get(volumeId)).imageId ?? '')

test('cinder snapshot-create, -list, -show, -rename, -metadata, -reset-state and -delete', async () => {
  const volumeId = propertiesOf(await cinder('create', '--name', 'data', '1'))['id'] ?? ''
  await volumeAvailable(volumeId)
  const made = propertiesOf(
    await cinder(
      'snapshot-create',
      '--name',
      's1',
      '--description',
      'first',
      '--metadata',
      'a=b',
      '--',
      'data',
    ),
  )
  const id = made['id'] ?? ''
  assert.equal(made['status'], 'creating')
  assert.equal(made['volume_id'], volumeId)
  await available(id)
  const shown = propertiesOf(await cinder('snapshot-show', 's1'))
  assert.deepEqual(Object.keys(shown).toSorted(), [
    'Property',
    'consumes_quota',
    'created_at',
    'description',
    'group_snapshot_id',
    'id',
    'metadata',
    'name',
    'os-extended-snapshot-attributes:progress',
    'os-extended-snapshot-attributes:project_id',
    'size',
    'status',
    'updated_at',
    'user_id',
    'volant:method',
    'volume_id',
  ])
  assert.equal(shown['status'], 'available')
  assert.equal(shown['os-extended-snapshot-attributes:progress'], '100%')
  assert.equal(shown['volant:method'], 'clone')

  // As clients older than microversion 3.66 ask for a snapshot of a volume that is in use.
  await rig.world.records.volumes.update(volumeId, { status: 'in-use' })
  const old = ['--os-volume-api-version', '3.0', 'snapshot-create']
  const refused = await cloud.run('cinder', [...old, 'data'])
  assert.notEqual(refused.code, 0)
  assert.match(refused.stderr, /is not available, current volume status: in-use/)
  const forced = propertiesOf(await cinder(...old, '--force', 'True', '--name', 's2', 'data'))['id'] ?? ''
  await available(forced)
  await rig.world.records.volumes.update(volumeId, { status: 'available' })

  const [head, ...rows] = rowsOf(await cinder('snapshot-list', '--sort', 'name:asc'))
  assert.deepEqual(head?.slice(0, 5), ['ID', 'Volume ID', 'Status', 'Name', 'Size'])
  assert.deepEqual(
    rows.map((row) => [row[0], row[1], row[2], row[3]]),
    [
      [id, volumeId, 'available', 's1'],
      [forced, volumeId, 'available', 's2'],
    ],
  )
  const filtered = rowsOf(await cinder('snapshot-list', '--volume-id', volumeId, '--name', 's2'))
  assert.deepEqual(
    filtered.slice(1).map((row) => row[0]),
    [forced],
  )
  assert.match(await cinder('snapshot-list', '--limit', '1', '--with-count'), /Snapshot in total: 2/)

  await cinder('snapshot-rename', 's1', 'renamed', '--description', 'other')
  await cinder('snapshot-metadata', 'renamed', 'set', 'c=d')
  assert.match(await cinder('snapshot-metadata-show', 'renamed'), /c .*d/)
  await cinder('snapshot-metadata', 'renamed', 'unset', 'a')
  await cinder('snapshot-metadata-update-all', 'renamed', 'e=f')
  const row = await rig.world.records.snapshots.get(id)
  assert.deepEqual([row.name, row.description, row.metadata], ['renamed', 'other', { e: 'f' }])

  await cinder('snapshot-reset-state', '--state', 'error', 'renamed')
  assert.equal((await rig.world.records.snapshots.get(id)).status, 'error')
  await cinder('snapshot-delete', 'renamed')
  await gone(id)
  await cinder('snapshot-delete', '--force', 's2')
  await gone(forced)
})

test('cinder create --snapshot-id, revert-to-snapshot and delete --cascade', async () => {
  const volumeId = propertiesOf(await cinder('create', '--name', 'origin', '1'))['id'] ?? ''
  await volumeAvailable(volumeId)
  await write(volumeId, 'before')
  const id = propertiesOf(await cinder('snapshot-create', '--name', 'point', 'origin'))['id'] ?? ''
  await available(id)
  await write(volumeId, 'after')
  const made = propertiesOf(await cinder('create', '--snapshot-id', id, '--name', 'from', '2'))
  assert.equal(made['snapshot_id'], id)
  await volumeAvailable(made['id'] ?? '')
  assert.equal(await contentOfVolume(made['id'] ?? ''), 'before')
  const sized = propertiesOf(await cinder('create', '--snapshot-id', id))
  assert.equal(sized['size'], '1')
  await volumeAvailable(sized['id'] ?? '')

  await cinder('revert-to-snapshot', 'point')
  await volumeAvailable(volumeId)
  assert.equal(await contentOfVolume(volumeId), 'before')

  const refused = await cloud.run('cinder', ['delete', 'origin'])
  assert.notEqual(refused.code, 0)
  assert.match(refused.stdout + refused.stderr, /have snapshots.* It has 1 snapshot:/)
  await cinder('delete', '--cascade', 'origin')
  await gone(id)
  await until(
    'the volume is gone',
    async () => (await rig.world.records.volumes.find(volumeId)) === undefined,
  )
})

test('openstack volume snapshot create, list, show, set, unset and delete; volume create --snapshot', async () => {
  const openstack = async (...args: string[]): Promise<void> => {
    const result = await cloud.run('openstack', args)
    assert.equal(result.code, 0, result.stderr)
  }
  type Row = Record<string, unknown>
  const volume = await cloud.json<Row>('openstack', ['volume', 'create', '--size', '1', 'third'])
  await volumeAvailable(String(volume['id']))
  const create = ['volume', 'snapshot', 'create', '--volume', 'third', '--property', 'a=b', '--force', 'os1']
  const { id } = await cloud.json<{ id: string }>('openstack', create)
  await available(id)
  const listed = await cloud.json<Row[]>('openstack', ['volume', 'snapshot', 'list', '--volume', 'third'])
  assert.deepEqual(
    listed.map((row) => [row['ID'], row['Name'], row['Status'], row['Size']]),
    [[id, 'os1', 'available', 1]],
  )
  const shown = await cloud.json<Row>('openstack', ['volume', 'snapshot', 'show', 'os1'])
  assert.deepEqual([shown['status'], shown['properties']], ['available', { a: 'b' }])
  const made = await cloud.json<Row>('openstack', ['volume', 'create', '--snapshot', 'os1', 'fourth'])
  await volumeAvailable(String(made['id']))
  assert.equal((await rig.world.records.volumes.get(String(made['id']))).snapshotId, id)
  await openstack('volume', 'snapshot', 'set', '--name', 'os2', '--property', 'c=d', 'os1')
  await openstack('volume', 'snapshot', 'unset', '--property', 'a', 'os2')
  const row = await rig.world.records.snapshots.get(id)
  assert.deepEqual([row.name, row.metadata], ['os2', { c: 'd' }])
  await openstack('volume', 'snapshot', 'set', '--state', 'error', 'os2')
  await openstack('volume', 'snapshot', 'delete', 'os2')
  await gone(id)
})
