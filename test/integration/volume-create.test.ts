import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { DomainError } from '@volant/contract'
import { gib, type Volume } from '../../packages/control/src/domain/volume.ts'
import type { RegisteredImage } from '../../packages/control/src/ports/images.ts'
import { openVolumeRig, projectId, type VolumeRig } from './volume-rig.ts'

let rig: VolumeRig
beforeEach(async () => {
  rig = await openVolumeRig()
})
afterEach(() => rig.stop())

const post = (volume: Record<string, unknown>) => rig.call('POST', '/volumes', { body: { volume } })
const messages = async () => (await rig.call('GET', '/messages')).body.messages

test('no pool that fits: the volume ends in error, with a message that says why', async () => {
  await rig.call('PUT', `/os-quota-sets/${projectId}`, {
    as: 'admin',
    body: { quota_set: { gigabytes: -1 } },
  })
  const made = await post({ size: 100_000 })
  assert.equal(made.status, 202)
  const volume = await rig.settle(made.body.volume.id, ['error'])
  assert.equal(volume?.['os-vol-host-attr:host'], null)
  const [message] = await messages()
  assert.equal(message.resource_uuid, made.body.volume.id)
  assert.match(message.user_message, /No valid backend was found.*100000\.00 GiB are asked for/)
  assert.deepEqual(await rig.world.records.copies.ofVolume(made.body.volume.id), [])
  const gone = await rig.call('DELETE', `/volumes/${made.body.volume.id}`)
  assert.equal(gone.status, 202)
  assert.equal(await rig.settle(made.body.volume.id, []), undefined)
  assert.equal((await rig.call('DELETE', `/messages/${message.id}`)).status, 204)
  assert.deepEqual(await messages(), [])
})

test('a disabled backend gets no new volumes', async () => {
  const body = { host: 'testhost@cinder-lma', binary: 'cinder-volume', disabled_reason: 'service' }
  const off = await rig.call('PUT', '/os-services/disable-log-reason', { as: 'admin', body })
  assert.equal(off.status, 200)
  assert.equal(off.body.disabled_reason, 'service')
  const { id } = await rig.create()
  const shown = await rig.call('GET', `/volumes/${id}`, { as: 'admin' })
  assert.match(shown.body.volume['os-vol-host-attr:host'], /cinder-lmb/)
  const on = await rig.call('PUT', '/os-services/enable', { as: 'admin', body })
  assert.equal(on.body.status, 'enabled')
  const again = await rig.call('GET', `/volumes/${(await rig.create()).id}`, { as: 'admin' })
  assert.match(again.body.volume['os-vol-host-attr:host'], /cinder-lma/)
})

test('a volume type chooses the backend', async () => {
  const type = await rig.call('POST', '/types', {
    as: 'admin',
    body: { volume_type: { name: 'lmb', extra_specs: { volume_backend_name: 'cinder-lmb' } } },
  })
  assert.equal(type.status, 200)
  const { id } = await rig.create({ volume_type: 'lmb' })
  const shown = await rig.call('GET', `/volumes/${id}`, { as: 'admin' })
  assert.match(shown.body.volume['os-vol-host-attr:host'], /cinder-lmb/)
  assert.equal(shown.body.volume.volume_type, 'lmb')
  const back = await rig.call('POST', `/volumes/${id}/action`, {
    body: { 'os-retype': { new_type: '__DEFAULT__', migration_policy: 'never' } },
  })
  assert.equal(back.status, 202)
  await rig.call('POST', '/types', {
    as: 'admin',
    body: { volume_type: { name: 'lma', extra_specs: { volume_backend_name: 'cinder-lma' } } },
  })
  const elsewhere = await rig.call('POST', `/volumes/${id}/action`, {
    body: { 'os-retype': { new_type: 'lma' } },
  })
  assert.equal(elsewhere.status, 400)
  assert.match(elsewhere.body.badRequest.message, /volume_backend_name=cinder-lma.*migrate it first/)
  assert.equal((await post({ size: 1, volume_type: 'unknown' })).status, 404)
})

test('quotas hold, also for requests at the same time', async () => {
  const answers = await Promise.all(Array.from({ length: 14 }, () => post({ size: 1 })))
  assert.equal(answers.filter((a) => a.status === 202).length, 10)
  const refused = answers.find((a) => a.status !== 202)
  assert.equal(refused?.status, 413)
  assert.equal(
    refused.body.overLimit.message,
    "Maximum number of volumes allowed (10) exceeded for quota 'volumes'.",
  )
  const quota = { quota_set: { volumes: 20, gigabytes: 12, per_volume_gigabytes: 5 } }
  await rig.call('PUT', `/os-quota-sets/${projectId}`, { as: 'admin', body: quota })
  const large = await post({ size: 3 })
  assert.equal(
    large.body.overLimit.message,
    'Requested volume or snapshot exceeds allowed gigabytes quota. Requested 3G, quota is 12G and 10G has been consumed.',
  )
  assert.match((await post({ size: 6 })).body.overLimit.message, /6G is larger than maximum allowed limit 5G/)
  const id = answers.find((a) => a.status === 202)?.body.volume.id
  await rig.settle(id, ['available'])
  const extend = (size: number) =>
    rig.call('POST', `/volumes/${id}/action`, { body: { 'os-extend': { new_size: size } } })
  assert.equal((await extend(4)).status, 413)
  assert.equal((await extend(3)).status, 202)
  assert.equal((await rig.settle(id, ['available']))?.['size'], 3)
  const usage = await rig.call('GET', `/os-quota-sets/${projectId}?usage=True`)
  assert.deepEqual(usage.body.quota_set.gigabytes, { limit: 12, in_use: 12, reserved: 0 })
  const limits = await rig.call('GET', '/limits')
  assert.equal(limits.body.limits.absolute.totalGigabytesUsed, 12)
  assert.equal(limits.body.limits.absolute.totalVolumesUsed, 10)
  const less = await rig.call('PUT', `/os-quota-sets/${projectId}`, {
    as: 'admin',
    body: { quota_set: { volumes: 3 } },
  })
  assert.equal(less.status, 400)
})

const image = (fields: Partial<RegisteredImage> = {}): RegisteredImage => ({
  id: 'b1f0d6b4-0000-4000-8000-000000000001',
  name: 'cirros',
  status: 'active',
  visibility: 'public',
  owner: null,
  diskFormat: 'qcow2',
  containerFormat: 'bare',
  checksum: 'c0ffee',
  sizeBytes: 1000,
  virtualSizeBytes: 2 * gib,
  minDiskGib: 0,
  minRamMib: 0,
  properties: { hw_disk_bus: 'virtio' },
  ...fields,
})

test('from an image: bootable, with the image’s metadata', async () => {
  const found = image()
  rig.images.set(found.id, found)
  const { id } = await rig.create({ size: 3, imageRef: found.id })
  const { body } = await rig.call('GET', `/volumes/${id}`)
  assert.equal(body.volume.bootable, 'true')
  assert.deepEqual(body.volume.volume_image_metadata, {
    hw_disk_bus: 'virtio',
    image_id: found.id,
    image_name: 'cirros',
    checksum: 'c0ffee',
    container_format: 'bare',
    disk_format: 'qcow2',
    min_disk: '0',
    min_ram: '0',
    size: '1000',
  })
  const [copy] = await rig.world.records.copies.ofVolume(id)
  assert.equal(copy?.reservedBytes, 0)
  assert.equal(copy?.state, 'live')
  const unset = await rig.call('POST', `/volumes/${id}/action`, {
    body: { 'os-unset_image_metadata': { key: 'checksum' } },
  })
  assert.equal(unset.status, 200)
  const shown = await rig.call('POST', `/volumes/${id}/action`, { body: { 'os-show_image_metadata': null } })
  assert.equal(shown.body.metadata.checksum, undefined)
})

test('from an image by its name, or by its URL, as Cinder takes them; a name of two is refused', async () => {
  const found = image({ name: 'by name' })
  rig.images.set(found.id, found)
  for (const imageRef of ['by name', `http://glance/v2/images/${found.id}`]) {
    const { id } = await rig.create({ size: 3, imageRef })
    const { body } = await rig.call('GET', `/volumes/${id}`)
    assert.equal(body.volume.volume_image_metadata.image_id, found.id)
  }
  const other = image({ name: 'by name', id: crypto.randomUUID() })
  rig.images.set(other.id, other)
  const twice = await post({ size: 3, imageRef: 'by name' })
  assert.equal(twice.status, 409)
  assert.match(JSON.stringify(twice.body), /Multiple matches found for 'by name', use an ID/)
  rig.images.delete(other.id)
})

test('an image that cannot be used is refused with Cinder’s words', async () => {
  const found = image()
  const from = async (fields: Partial<RegisteredImage>, size: number | null) => {
    rig.images.set(found.id, image(fields))
    const answer = await post({ size, imageRef: found.id })
    assert.equal(answer.status, 400)
    return answer.body.badRequest.message
  }
  assert.match(await from({}, 1), /Size of specified image 2GB is larger than volume size 1GB/)
  assert.match(await from({ minDiskGib: 9 }, 3), /cannot be smaller than the image minDisk size 9GB/)
  assert.match(await from({ status: 'queued' }, 3), /is not active/)
  assert.match(await from({ diskFormat: 'aki' }, 3), /disk format aki/)
  assert.match(await from({}, null), /must be an integer and greater than 0/)
  const unknown = await post({ size: 1, imageRef: 'nope' })
  assert.match(unknown.body.badRequest.message, /Invalid image identifier or unable to access/)
})

test('a copy of a volume is on the machine of its source and as large at least', async () => {
  await rig.stop()
  rig = await openVolumeRig({ machines: { lma: 'm1', lmb: 'm2', compute: 'm1' }, reflink: false })
  const source = await rig.create({ size: 2, metadata: { a: 'b' } })
  for (let i = 0; i < 3; i++) {
    const { id } = await rig.create({ size: null, source_volid: source.id })
    const shown = await rig.call('GET', `/volumes/${id}`, { as: 'admin' })
    assert.equal(shown.body.volume.size, 2)
    assert.equal(shown.body.volume.source_volid, source.id)
    assert.match(shown.body.volume['os-vol-host-attr:host'], /cinder-lma/)
  }
  const small = await post({ size: 1, source_volid: source.id })
  assert.match(small.body.badRequest.message, /cannot be smaller than original volume size 2GB/)
  assert.equal((await post({ size: 2, source_volid: 'unknown' })).status, 404)
  await rig.call('POST', `/volumes/${source.id}/action`, {
    body: { 'os-attach': { instance_uuid: 's', mountpoint: '/dev/vdb' } },
  })
  const busy = await post({ size: 2, source_volid: source.id })
  assert.match(busy.body.badRequest.message, /is in use, and aggregate aggr1 cannot clone it/)
})

test('a storage node that fails for good leaves a volume in error, and no litter', async () => {
  const node = rig.world.nodes.get('lma-01')
  node?.failNext('ensureImage', new Error('disk broke'))
  const failed = await post({ size: 1 })
  await rig.settle(failed.body.volume.id, ['error'])
  assert.deepEqual(node?.pendingFaults, [])
  assert.deepEqual(await rig.world.records.copies.ofVolume(failed.body.volume.id), [])
  assert.match((await messages())[0].user_message, /internal fault/)
})

test('a lost answer of a storage node is asked for again, and no message is left', async () => {
  const node = rig.world.nodes.get('lma-01')
  node?.failNext('ensureImage', new DomainError('unavailable', 'no answer'), 'after')
  const { id } = await rig.create()
  assert.deepEqual(node?.pendingFaults, [])
  assert.equal((await rig.world.records.copies.ofVolume(id)).length, 1)
  assert.equal(node?.images.size, 1)
  assert.deepEqual(await messages(), [])
})

test('a claim without an operation, which a crash can leave, gets its end', async () => {
  const { volumes } = rig.world.records
  const kept = await rig.create()
  const full = await volumes.get(kept.id)
  const make = async (status: Volume['status']) => {
    const { id } = await rig.create()
    await volumes.update(id, { status, previousStatus: 'available' })
    return id
  }
  const extending = await make('extending')
  const deleting = await make('deleting')
  const creating = crypto.randomUUID()
  await volumes.create({ ...full, id: creating, status: 'creating', imageId: null, flexvolId: null })
  const { recovered } = await rig.recover()
  assert.deepEqual(recovered.toSorted(), [extending, deleting, creating].toSorted())
  assert.equal(await rig.settle(deleting, []), undefined)
  assert.equal((await volumes.get(extending)).status, 'available')
  assert.equal((await volumes.get(creating)).status, 'error')
  assert.equal((await volumes.get(kept.id)).status, 'available')
})
