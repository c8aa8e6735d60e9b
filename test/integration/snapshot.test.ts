/** Snapshots of volumes over HTTP, from their creation to what is made of them. One file, over 400 lines: one resource of the API. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { DomainError } from '@volant/contract'
import { contentOf, imageIn } from '../../packages/control/src/testing/snapshots.ts'
import { attachmentOf } from '../../packages/control/src/testing/world.ts'
import { ensureHead } from '../../packages/control/src/operations/head.ts'
import { openVolumeRig, projectId, type VolumeRig } from './volume-rig.ts'

let rig: VolumeRig
beforeEach(async () => {
  rig = await openVolumeRig()
})
afterEach(() => rig.stop())

type As = 'admin' | 'member' | 'reader' | 'other'

const post = (volumeId: string | null, fields: Record<string, unknown> = {}, version = '3.70') =>
  rig.call('POST', '/snapshots', { body: { snapshot: { volume_id: volumeId, ...fields } }, version })
const show = (id: string, as: As = 'member', version = '3.70') =>
  rig.call('GET', `/snapshots/${id}`, { as, version })
const action = (path: string, body: unknown, as: As = 'admin', version = '3.70') =>
  rig.call('POST', `${path}/action`, { as, body, version })

/** Waits until the snapshot has one of the statuses; undefined once it is gone. */
async function settled(id: string, ...statuses: string[]): Promise<Record<string, unknown> | undefined> {
  for (let look = 0; look < 400; look++) {
    const answer = await show(id, 'admin')
    if (answer.status === 404) return undefined
    if (statuses.includes(answer.body.snapshot.status)) return answer.body.snapshot
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  throw new Error(`snapshot ${id} did not become ${statuses.join(' or ')}`)
}

async function snapshotOf(volumeId: string, fields: Record<string, unknown> = {}): Promise<string> {
  const made = await post(volumeId, fields)
  assert.equal(made.status, 202, JSON.stringify(made.body))
  await settled(made.body.snapshot.id, 'available')
  await idle(`snapshot/${made.body.snapshot.id}`)
  return made.body.snapshot.id
}

/** The operation has let go of it: its record says so a moment after the snapshot's. */
async function idle(key: string): Promise<void> {
  const { store } = rig
  for (let look = 0; look < 400 && (await store.holderOf(key)) !== undefined; look++) {
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Writes to the volume's image, as its holder would. */
async function write(volumeId: string, content: string): Promise<void> {
  const { imageId } = await rig.world.records.volumes.get(volumeId)
  const image = imageIn(rig.world, imageId as string)
  assert.ok(image)
  image.content = content
}

/** What the volume or the snapshot holds. */
const heldBy = (imageId: string | null | undefined): string | undefined => contentOf(rig.world, imageId ?? '')

async function attach(volumeId: string): Promise<void> {
  const volume = await rig.world.records.volumes.get(volumeId)
  const attachment = attachmentOf(volume)
  await rig.world.records.attachments.create(attachment)
  await rig.world.records.volumes.update(volumeId, { status: 'in-use' })
  await ensureHead(rig.world.ports, { fence: 0 }, attachment)
}

const filesOf = () => [...rig.world.nodes.values()].flatMap((node) => [...node.images.keys()])

test('a snapshot goes from creating to available, holds what the volume held, and can be deleted', async () => {
  const volume = await rig.create({ size: 2 })
  await write(volume.id, 'before')
  const made = await post(volume.id, {
    name: ' s1 ',
    description: 'first',
    metadata: { a: 'b' },
  })
  assert.equal(made.status, 202)
  assert.deepEqual(Object.keys(made.body.snapshot), [
    'id',
    'created_at',
    'updated_at',
    'name',
    'description',
    'volume_id',
    'status',
    'size',
    'metadata',
    'os-extended-snapshot-attributes:progress',
    'os-extended-snapshot-attributes:project_id',
    'group_snapshot_id',
    'user_id',
    'consumes_quota',
  ])
  const { id, ...fields } = made.body.snapshot
  assert.equal(fields.status, 'creating')
  assert.equal(fields.name, 's1')
  assert.equal(fields.size, 2)
  assert.equal(fields['os-extended-snapshot-attributes:progress'], '0%')
  const snapshot = await settled(id, 'available')
  assert.equal(snapshot?.['os-extended-snapshot-attributes:progress'], '100%')
  assert.equal(snapshot?.['os-extended-snapshot-attributes:project_id'], projectId)
  assert.equal(snapshot?.['volant:method'], 'clone')
  assert.equal((await show(id)).body.snapshot['volant:method'], undefined, 'the administrator’s alone')
  assert.equal((await show(id, 'member', '3.13')).body.snapshot.group_snapshot_id, undefined)
  assert.equal((await show(id, 'member', '3.40')).body.snapshot.user_id, undefined)
  assert.equal((await show(id, 'member', '3.64')).body.snapshot.consumes_quota, undefined)
  assert.equal((await rig.call('GET', `/volumes/${volume.id}`)).body.volume.status, 'available')

  await write(volume.id, 'after')
  const row = await rig.world.records.snapshots.get(id)
  assert.equal(heldBy(row.imageId), 'before')
  assert.equal(imageIn(rig.world, row.imageId as string)?.readOnly, true)

  await idle(`snapshot/${id}`)
  assert.equal((await rig.call('DELETE', `/snapshots/${id}`)).status, 202)
  assert.equal(await settled(id), undefined)
  assert.deepEqual(filesOf().length, 1)
  assert.deepEqual(await rig.world.records.copies.ofSnapshot(id), [])
})

test('of a volume in use only with force, or since microversion 3.66; what force may be', async () => {
  const { id } = await rig.create()
  await attach(id)
  const plain = await post(id, {}, '3.65')
  assert.equal(plain.status, 400)
  assert.match(plain.body.badRequest.message, /is not available, current volume status: in-use.*With force/)
  for (const [fields, version] of [
    [{ force: true }, '3.0'],
    [{ force: 'True' }, '3.65'],
    [{}, '3.66'],
    [{ force: true }, '3.70'],
  ] as const) {
    const made = await post(id, fields, version)
    assert.equal(made.status, 202, JSON.stringify([fields, version, made.body]))
    await settled(made.body.snapshot.id, 'available')
    await idle(`volume/${id}`)
    assert.equal((await rig.call('GET', `/volumes/${id}`)).body.volume.status, 'in-use')
  }
  const no = await post(id, { force: false }, '3.66')
  assert.match(no.body.badRequest.message, /Since microversion 3.66 the 'force' option is invalid/)
  const odd = await post(id, { force: 'maybe' }, '3.65')
  assert.match(odd.body.badRequest.message, /Invalid value .* for force/)
})

describe('what cannot be snapshotted', () => {
  test('another project’s volume, an unknown one, none', async () => {
    const { id } = await rig.create()
    const body = { snapshot: { volume_id: id } }
    assert.equal((await rig.call('POST', '/snapshots', { as: 'other', body })).status, 404)
    assert.equal((await rig.call('POST', '/snapshots', { as: 'reader', body })).status, 403)
    assert.equal((await post('unknown')).status, 404)
    assert.equal((await post(null)).status, 404)
    const nothing = await rig.call('POST', '/snapshots', { body: { snapshot: {} } })
    assert.equal(nothing.status, 400)
  })
  test('a volume that is migrating, in error, or in maintenance: Cinder’s words, and nothing is left', async () => {
    const { id } = await rig.create()
    const { volumes } = rig.world.records
    await volumes.update(id, { migrationStatus: 'migrating' })
    assert.match((await post(id)).body.badRequest.message, /cannot be created while volume is migrating/)
    await volumes.update(id, { migrationStatus: null, status: 'error' })
    assert.match((await post(id)).body.badRequest.message, /in status error/)
    await volumes.update(id, { status: 'maintenance' })
    assert.match((await post(id)).body.badRequest.message, /maintenance mode/)
    assert.deepEqual((await rig.call('GET', '/snapshots')).body.snapshots, [])
  })
  test('over quota, by number and by gigabytes; volumes and snapshots share the gigabytes', async () => {
    const { id } = await rig.create({ size: 4 })
    const quota = (quota_set: Record<string, number>) =>
      rig.call('PUT', `/os-quota-sets/${projectId}`, { as: 'admin', body: { quota_set } })
    await quota({ snapshots: 1 })
    await snapshotOf(id)
    const second = await post(id)
    assert.equal(second.status, 413)
    assert.match(second.body.overLimit.message, /Maximum number of snapshots allowed \(1\) exceeded/)
    await quota({ snapshots: 5, gigabytes: 10 })
    const large = await post(id)
    assert.match(
      large.body.overLimit.message,
      /exceeds allowed gigabytes quota. Requested 4G, quota is 10G and 8G/,
    )
    const volume = await rig.call('POST', '/volumes', { body: { volume: { size: 3 } } })
    assert.equal(volume.status, 413)
    const { absolute } = (await rig.call('GET', '/limits')).body.limits
    assert.deepEqual([absolute.totalSnapshotsUsed, absolute.totalGigabytesUsed], [1, 8])
    const usage = (await rig.call('GET', `/os-quota-sets/${projectId}?usage=True`)).body.quota_set
    assert.deepEqual(usage.snapshots, { limit: 5, in_use: 1, reserved: 0 })
    const less = await quota({ snapshots: 0 })
    assert.equal(less.status, 400)
  })
})

test('a storage node that fails leaves the snapshot in error, with a message and nothing else', async () => {
  const { id } = await rig.create()
  const node = rig.world.nodes.get('lma-01')
  node?.failNext('ensureClone', new DomainError('noCapacity', 'The disk is full.'))
  const made = await post(id)
  const snapshotId = made.body.snapshot.id
  await settled(snapshotId, 'error')
  await idle(`volume/${id}`)
  assert.deepEqual(node?.pendingFaults, [])
  const [message] = (await rig.call('GET', '/messages')).body.messages
  assert.equal(message.resource_type, 'VOLUME_SNAPSHOT')
  assert.equal(message.resource_uuid, snapshotId)
  assert.equal(message.user_message, 'The disk is full.')
  assert.equal(filesOf().length, 1)
  assert.deepEqual(await rig.world.records.copies.ofSnapshot(snapshotId), [])
  assert.equal((await rig.call('GET', `/volumes/${id}`)).body.volume.status, 'available')
  assert.equal((await rig.call('DELETE', `/snapshots/${snapshotId}`)).status, 202)
  assert.equal(await settled(snapshotId), undefined)
})

describe('where images cannot share blocks', () => {
  beforeEach(async () => {
    await rig.stop()
    rig = await openVolumeRig({ reflink: false })
  })
  test('a full copy of a detached volume, and by the head of one in use', async () => {
    const detached = await rig.create()
    await write(detached.id, 'before')
    const first = await snapshotOf(detached.id)
    assert.equal((await show(first, 'admin')).body.snapshot['volant:method'], 'copy')
    assert.equal(heldBy((await rig.world.records.snapshots.get(first)).imageId), 'before')
    const used = await rig.create()
    await attach(used.id)
    const second = await snapshotOf(used.id)
    assert.equal((await show(second, 'admin')).body.snapshot['volant:method'], 'copy')
    const holders = [...rig.world.holders.values()].flatMap((agent) => [...agent.holders.values()])
    assert.deepEqual(
      holders.map(({ pointCopy }) => pointCopy),
      [undefined],
    )
  })
  test('a head that dies meanwhile copies another instant', async () => {
    await rig.stop()
    rig = await openVolumeRig({ reflink: false, firstPhase: 'copying' })
    const { id } = await rig.create()
    await attach(id)
    const [agent] = [...rig.world.holders.values()]
    const [holder] = [...(agent?.holders.values() ?? [])]
    assert.ok(agent && holder)
    const made = await post(id)
    const { holderId } = holder.spec
    await until(() => holder.pointCopy?.phase === 'copying')
    agent.crashHolder(holderId)
    await until(() => holder.pointCopy?.phase === 'copying')
    agent.setPointCopy(holderId, { phase: 'done' })
    await settled(made.body.snapshot.id, 'available')
  })
})

async function until(holds: () => boolean): Promise<void> {
  for (let look = 0; look < 400; look++) {
    if (holds()) return
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  throw new Error(`it never came true: ${String(holds)}`)
}

test('show, update and metadata', async () => {
  const id = await snapshotOf((await rig.create()).id, { metadata: { a: '1' } })
  const path = `/snapshots/${id}`
  const put = await rig.call('PUT', path, { body: { snapshot: { name: 'n2', description: 'd2' } } })
  assert.deepEqual([put.status, put.body.snapshot.name, put.body.snapshot.description], [200, 'n2', 'd2'])
  assert.equal((await rig.call('PUT', path, { body: { snapshot: { status: 'error' } } })).status, 400)
  assert.equal((await rig.call('PUT', path, { body: { snapshot: {} } })).status, 400)
  assert.equal((await rig.call('PUT', path, { as: 'reader', body: { snapshot: { name: 'x' } } })).status, 403)
  assert.equal((await rig.call('PUT', path, { as: 'other', body: { snapshot: { name: 'x' } } })).status, 404)
  const meta = `${path}/metadata`
  assert.deepEqual((await rig.call('GET', meta)).body, { metadata: { a: '1' } })
  assert.deepEqual((await rig.call('POST', meta, { body: { metadata: { b: '2' } } })).body, {
    metadata: { a: '1', b: '2' },
  })
  assert.deepEqual((await rig.call('PUT', meta, { body: { metadata: { c: '3' } } })).body, {
    metadata: { c: '3' },
  })
  assert.deepEqual((await rig.call('GET', `${meta}/c`)).body, { meta: { c: '3' } })
  assert.deepEqual((await rig.call('PUT', `${meta}/c`, { body: { meta: { c: '4' } } })).body, {
    meta: { c: '4' },
  })
  assert.equal((await rig.call('PUT', `${meta}/c`, { body: { meta: { d: '4' } } })).status, 400)
  assert.equal((await rig.call('GET', `${meta}/x`)).status, 404)
  assert.equal((await rig.call('DELETE', `${meta}/c`)).status, 200)
  assert.equal((await rig.call('DELETE', `${meta}/c`)).status, 404)
  assert.equal((await rig.call('POST', meta, { body: { metadata: { '': 'x' } } })).status, 400)
})

test('reset-state repairs a record; a snapshot without data is not made available; only administrators', async () => {
  const volume = await rig.create()
  const id = await snapshotOf(volume.id)
  const reset = (status: string, as: As = 'admin') =>
    action(`/snapshots/${id}`, { 'os-reset_status': { status } }, as)
  assert.equal((await reset('error')).status, 202)
  assert.equal((await show(id)).body.snapshot.status, 'error')
  assert.equal((await reset('available')).status, 202)
  assert.equal((await reset('nonsense')).status, 400)
  assert.equal((await reset('error', 'member')).status, 403)
  await rig.world.records.snapshots.update(id, { imageId: null, status: 'error' })
  assert.match((await reset('available')).body.badRequest.message, /has no data/)
})

test('force-delete takes a snapshot of any status, and is the administrator’s', async () => {
  const id = await snapshotOf((await rig.create()).id)
  await rig.world.records.snapshots.update(id, { status: 'restoring' })
  const plain = await rig.call('DELETE', `/snapshots/${id}`)
  assert.match(plain.body.badRequest.message, /must be available or error .* It is restoring/)
  assert.equal((await action(`/snapshots/${id}`, { 'os-force_delete': {} }, 'member')).status, 403)
  assert.equal((await action(`/snapshots/${id}`, { 'os-force_delete': {} })).status, 202)
  assert.equal(await settled(id), undefined)
  const odd = await action('/snapshots/x', { 'os-update_snapshot_status': { status: 'available' } })
  assert.equal(odd.status, 404)
})

describe('volumes from snapshots', () => {
  test('a clone in the snapshot’s pool, grown to the size that was asked for', async () => {
    const source = await rig.create({ size: 2 })
    await write(source.id, 'before')
    await rig.world.records.volumes.update(source.id, {
      bootable: true,
      imageMetadata: { os: 'probe' },
    })
    const snapshotId = await snapshotOf(source.id)
    await write(source.id, 'after')
    const same = await rig.create({ size: null, snapshot_id: snapshotId })
    const grown = await rig.create({ size: 5, snapshot_id: snapshotId })
    for (const [id, size] of [
      [same.id, 2],
      [grown.id, 5],
    ] as const) {
      const { volume } = (await rig.call('GET', `/volumes/${id}`, { as: 'admin' })).body
      assert.deepEqual([volume.size, volume.snapshot_id, volume.bootable], [size, snapshotId, 'true'])
      assert.deepEqual(volume.volume_image_metadata, { os: 'probe' })
      const row = await rig.world.records.volumes.get(id)
      assert.equal(row.flexvolId, (await rig.world.records.volumes.get(source.id)).flexvolId)
      assert.equal(heldBy(row.imageId), 'before')
      const image = imageIn(rig.world, row.imageId as string)
      assert.equal(image?.sizeBytes, size * 1024 ** 3)
      assert.equal(image?.readOnly, false)
      assert.equal((await rig.world.records.copies.get(row.imageId as string)).reservedBytes, 0)
    }
    const listed = await rig.call('GET', `/volumes?snapshot_id=${snapshotId}`)
    assert.equal(listed.body.volumes.length, 2)
    // They have blocks of their own: the snapshot can go.
    assert.equal((await rig.call('DELETE', `/snapshots/${snapshotId}`)).status, 202)
    assert.equal(await settled(snapshotId), undefined)
    assert.equal((await rig.call('GET', `/volumes/${same.id}`)).body.volume.status, 'available')
  })
  test('several at a time; meanwhile the snapshot is not deleted', async (t) => {
    const source = await rig.create()
    const snapshotId = await snapshotOf(source.id)
    const gate = Promise.withResolvers<void>()
    t.after(() => gate.resolve())
    const { backend } = rig.world
    const clone = backend.ensureClone.bind(backend)
    backend.ensureClone = async (...args) => {
      await gate.promise
      return clone(...args)
    }
    const body = { volume: { size: 1, snapshot_id: snapshotId } }
    const made = await Promise.all([1, 2, 3].map(() => rig.call('POST', '/volumes', { body })))
    assert.deepEqual(
      made.map(({ status }) => status),
      [202, 202, 202],
    )
    const refused = await rig.call('DELETE', `/snapshots/${snapshotId}`)
    assert.match(refused.body.badRequest.message, /is in use: volume .* is being made of it/)
    assert.equal((await show(snapshotId)).body.snapshot.status, 'available')
    gate.resolve()
    for (const { body: answer } of made) await rig.settle(answer.volume.id, ['available'])
  })
  test('refused: smaller, unknown, another project’s, not available, together with another source', async () => {
    const source = await rig.create({ size: 3 })
    const snapshotId = await snapshotOf(source.id)
    const create = (volume: Record<string, unknown>, as: As = 'member') =>
      rig.call('POST', '/volumes', { body: { volume }, as })
    const small = await create({ size: 2, snapshot_id: snapshotId })
    assert.match(small.body.badRequest.message, /cannot be smaller than snapshot size 3GB/)
    assert.equal((await create({ size: 3, snapshot_id: 'unknown' })).status, 404)
    assert.equal((await create({ size: 3, snapshot_id: snapshotId }, 'other')).status, 404)
    const both = await create({ size: 3, snapshot_id: snapshotId, source_volid: source.id })
    assert.match(both.body.badRequest.message, /Only one of/)
    await rig.world.records.snapshots.update(snapshotId, { status: 'error' })
    const broken = await create({ size: 3, snapshot_id: snapshotId })
    assert.match(broken.body.badRequest.message, /status must be available, but it is error/)
  })
  test('by full copy where blocks cannot be shared', async () => {
    await rig.stop()
    rig = await openVolumeRig({ reflink: false })
    const source = await rig.create({ size: 1 })
    const snapshotId = await snapshotOf(source.id)
    const { id } = await rig.create({ size: 2, snapshot_id: snapshotId })
    const { imageId } = await rig.world.records.volumes.get(id)
    assert.equal(imageIn(rig.world, imageId as string)?.sizeBytes, 2 * 1024 ** 3)
  })
})

test('a volume in use is cloned where its pool can', async () => {
  const source = await rig.create()
  await attach(source.id)
  await write(source.id, 'now')
  const { id } = await rig.create({ size: 1, source_volid: source.id })
  assert.equal(heldBy((await rig.world.records.volumes.get(id)).imageId), 'now')
  assert.equal((await rig.call('GET', `/volumes/${source.id}`)).body.volume.status, 'in-use')
})

describe('revert to snapshot', () => {
  const revert = (volumeId: string, snapshotId: string | null, version = '3.70') =>
    action(`/volumes/${volumeId}`, { revert: { snapshot_id: snapshotId } }, 'member', version)

  test('the volume holds what the snapshot holds; the snapshot stays', async () => {
    const { id } = await rig.create()
    await write(id, 'before')
    const snapshotId = await snapshotOf(id)
    await write(id, 'after')
    const former = (await rig.world.records.volumes.get(id)).imageId as string
    assert.equal((await revert(id, snapshotId)).status, 202)
    await rig.settle(id, ['available'])
    await settled(snapshotId, 'available')
    await idle(`volume/${id}`)
    const { imageId } = await rig.world.records.volumes.get(id)
    assert.equal(heldBy(imageId), 'before')
    assert.equal(imageIn(rig.world, former), undefined, 'the former image is gone')
    assert.equal((await rig.world.records.copies.ofVolume(id)).length, 1)
    // And again.
    await write(id, 'later')
    assert.equal((await revert(id, snapshotId)).status, 202)
    await rig.settle(id, ['available'])
    assert.equal(heldBy((await rig.world.records.volumes.get(id)).imageId), 'before')
  })
  test('refused: an older snapshot, none, another size, in use, before 3.40', async () => {
    const { id } = await rig.create()
    assert.match((await revert(id, null)).body.badRequest.message, /has no snapshots/)
    const older = await snapshotOf(id)
    const latest = await snapshotOf(id)
    assert.match((await revert(id, older)).body.badRequest.message, /not the latest one/)
    assert.match((await revert(id, null)).body.badRequest.message, /is None or not the latest/)
    assert.equal((await revert(id, latest, '3.39')).status, 400)
    await rig.world.records.volumes.update(id, { sizeGib: 2 })
    assert.match((await revert(id, latest)).body.badRequest.message, /size must be equal/)
    await rig.world.records.volumes.update(id, { sizeGib: 1, status: 'in-use' })
    const used = await revert(id, latest)
    assert.equal(used.status, 409)
    assert.match(used.body.conflictingRequest.message, /status must be 'available'. It is in-use/)
    await rig.world.records.volumes.update(id, { status: 'available' })
    await rig.world.records.snapshots.update(latest, { status: 'error' })
    assert.equal((await revert(id, latest)).status, 409)
    assert.equal((await rig.call('GET', `/volumes/${id}`)).body.volume.status, 'available')
  })
})

describe('a volume with snapshots', () => {
  test('is not deleted without them', async () => {
    const { id } = await rig.create()
    const snapshots = [await snapshotOf(id), await snapshotOf(id)]
    const plain = await rig.call('DELETE', `/volumes/${id}`)
    assert.equal(plain.status, 400)
    assert.match(plain.body.badRequest.message, /have snapshots.* It has 2 snapshots/)
    await rig.world.records.snapshots.update(snapshots[1] as string, { status: 'creating' })
    const busy = await rig.call('DELETE', `/volumes/${id}?cascade=true`)
    assert.match(busy.body.badRequest.message, /must be available or in error.*it is creating/)
    assert.equal((await rig.call('GET', `/volumes/${id}`)).body.volume.status, 'available')
    assert.equal((await show(snapshots[0] as string)).body.snapshot.status, 'available')
    await rig.world.records.snapshots.update(snapshots[1] as string, { status: 'error' })
    assert.equal((await rig.call('DELETE', `/volumes/${id}?cascade=true`)).status, 202)
    assert.equal(await rig.settle(id, []), undefined)
    for (const snapshot of snapshots) assert.equal((await show(snapshot)).status, 404)
    assert.deepEqual(filesOf(), [])
    assert.deepEqual(await rig.world.db.selectFrom('copies').selectAll().execute(), [])
  })
  test('grows, and its snapshot does not', async () => {
    const { id } = await rig.create()
    const snapshotId = await snapshotOf(id)
    const grown = await action(`/volumes/${id}`, { 'os-extend': { new_size: 3 } }, 'member')
    assert.equal(grown.status, 202)
    await rig.settle(id, ['available'])
    assert.equal((await show(snapshotId)).body.snapshot.size, 1)
    const { imageId } = await rig.world.records.snapshots.get(snapshotId)
    assert.equal((await rig.world.records.copies.get(imageId as string)).sizeBytes, 1024 ** 3)
    const second = await snapshotOf(id)
    assert.equal((await show(second)).body.snapshot.size, 3)
  })
})

test('a claim without an operation, which a crash can leave, gets its end', async () => {
  const { id } = await rig.create()
  const { snapshots, volumes } = rig.world.records
  const [creating, deleting, restoring] = [
    await snapshotOf(id),
    await snapshotOf(id),
    await snapshotOf(id),
  ] as [string, string, string]
  await snapshots.update(creating, { status: 'creating', imageId: null })
  await snapshots.update(deleting, { status: 'deleting' })
  await snapshots.update(restoring, { status: 'restoring' })
  await volumes.update(id, { status: 'reverting' })
  const { recovered } = await rig.recover()
  assert.deepEqual(recovered.toSorted(), [creating, deleting, restoring, id].toSorted())
  assert.equal(await settled(deleting), undefined)
  assert.equal((await snapshots.get(creating)).status, 'error')
  assert.equal((await snapshots.get(restoring)).status, 'available')
  assert.equal((await volumes.get(id)).status, 'available')

  // One that goes with its volume goes by the volume's deletion alone.
  await volumes.update(id, { status: 'deleting' })
  for (const one of [creating, restoring]) await snapshots.update(one, { status: 'deleting' })
  assert.deepEqual((await rig.recover()).recovered, [id])
  assert.equal(await rig.settle(id, []), undefined)
  assert.equal(await snapshots.find(restoring), undefined)
})
