import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { assertWorldSound } from '../../packages/control/src/testing/invariants.ts'
import { diskImage, openComputeRig, probeImage, type ComputeRig } from './compute-rig.ts'
import { principals } from './volume-rig.ts'

/** The root disk of a server that boots from an image is a volume which nobody sees: Cinder's answers are as without it. */
let rig: ComputeRig
beforeEach(async () => {
  rig = await openComputeRig()
})
afterEach(() => rig.stop())

const project = String(principals['member']?.projectId)
const cinder = (method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown) =>
  rig.call(method, `/volume/v3/${project}${path}`, { as: 'admin', ...(body !== undefined && { body }) })
const act = (id: string, body: object) => rig.call('POST', `/servers/${id}/action`, { as: 'admin', body })
const show = async (id: string) => (await rig.call('GET', `/servers/${id}`, { as: 'admin' })).body.server

const lists = [
  '/volumes/detail?all_tenants=1&with_count=true',
  '/volumes/summary?all_tenants=1',
  '/snapshots/detail?all_tenants=1',
  '/attachments/detail?all_tenants=1',
  '/limits',
  `/os-quota-sets/${project}?usage=True`,
  '/messages?all_tenants=1',
  '/os-services',
]

async function seen(): Promise<Record<string, string>> {
  const all: Record<string, string> = {}
  for (const path of lists) {
    const { status, body } = await cinder('GET', path)
    assert.equal(status, 200, `${path}: ${JSON.stringify(body)}`)
    all[path] = JSON.stringify(body).replaceAll(/"\d{4}-\d\d-\d\dT[\d:.]+Z?"/g, '""')
  }
  return all
}

/** What the root disk is on record, and its attachment. */
async function rootOf(serverId: string) {
  const [row] = await rig.world.db
    .selectFrom('volumes')
    .select('id')
    .where('root_of', '=', serverId)
    .execute()
  assert.ok(row, 'there is a root disk')
  const [attachment] = await rig.world.records.attachments.ofVolume(row.id)
  assert.ok(attachment, 'it is attached')
  return { volume: await rig.world.records.volumes.get(row.id), attachment }
}

const left = async () => ({
  volumes: (await rig.world.db.selectFrom('volumes').select(['id', 'status']).execute()).map((row) => ({
    ...row,
  })),
  copies: await rig.world.db.selectFrom('copies').select('image_id').execute(),
  attachments: await rig.world.db.selectFrom('attachments').select('id').execute(),
})
const nothing = { volumes: [], copies: [], attachments: [] }

test('a server boots from it, and shows none of it; it goes with its server', async () => {
  const before = await seen()
  const id = await rig.boot()
  const { volume, attachment } = await rootOf(id)
  assert.deepEqual(await seen(), before, 'no list, count, limit or quota tells of it')
  assert.deepEqual([volume.sizeGib, volume.status, volume.bootable], [1, 'in-use', true])
  const server = await show(id)
  assert.equal(server.image.id, probeImage)
  assert.equal(server['OS-EXT-SRV-ATTR:root_device_name'], '/dev/vda')
  assert.deepEqual(server['os-extended-volumes:volumes_attached'], [])
  const agent = rig.hosts.get(server['OS-EXT-SRV-ATTR:host'])
  assert.deepEqual(
    agent?.disksOf(id).map(({ volumeId, boot }) => [volumeId, boot]),
    [[volume.id, true]],
  )
  assert.equal(attachment.mountpoint, '/dev/vda')
  const attached = await rig.call('GET', `/servers/${id}/os-volume_attachments`)
  assert.deepEqual(attached.body.volumeAttachments, [])
  const diagnostics = await rig.call('GET', `/servers/${id}/diagnostics`, { as: 'admin' })
  assert.equal(diagnostics.body.num_disks, 1)
  const data = await rig.volume()
  const second = await rig.call('POST', `/servers/${id}/os-volume_attachments`, {
    body: { volumeAttachment: { volumeId: data } },
  })
  assert.equal(second.body.volumeAttachment.device, '/dev/vdb')
  await rig.until('attached', async () => (await rig.world.records.volumes.get(data)).status === 'in-use')
  await rig.call('DELETE', `/servers/${id}`)
  await rig.settle(id, 'DELETED')
  await rig.until('the root disk is gone', async () => {
    return (await rig.world.records.volumes.find(volume.id)) === undefined
  })
  assert.deepEqual((await left()).volumes, [{ id: data, status: 'available' }])
  assert.equal((await left()).copies.length, 1)
  await assertWorldSound(rig.world)
})

test('its space counts in its pool, with the size of the flavor, or else of the image', async () => {
  const provisioned = async () => {
    const { body } = await cinder('GET', '/scheduler-stats/get_pools?detail=True')
    const pools = body.pools as { capabilities: { provisioned_capacity_gb: number } }[]
    return pools.reduce((sum, { capabilities }) => sum + capabilities.provisioned_capacity_gb, 0)
  }
  const before = await provisioned()
  const flavor = { name: 'diskless', ram: 64, vcpus: 1, disk: 0, id: 'diskless' }
  await rig.call('POST', '/flavors', { as: 'admin', body: { flavor } })
  const id = await rig.boot({ imageRef: diskImage, flavorRef: 'diskless' })
  assert.equal((await rootOf(id)).volume.sizeGib, 2)
  assert.equal((await provisioned()) - before, 2)
})

test('it is found by no id: 404 for all that can be asked of it, and nothing changes', async () => {
  const id = await rig.boot()
  const { volume, attachment } = await rootOf(id)
  const rows = () =>
    Promise.all(
      (['servers', 'volumes', 'snapshots', 'attachments', 'copies'] as const).map((table) =>
        rig.world.db.selectFrom(table).selectAll().execute(),
      ),
    )
  const before = await rows()
  const ask = (body: object) => cinder('POST', `/volumes/${volume.id}/action`, body)
  const own = `/servers/${id}/os-volume_attachments`
  const asked = {
    show: cinder('GET', `/volumes/${volume.id}`),
    rename: cinder('PUT', `/volumes/${volume.id}`, { volume: { name: 'mine' } }),
    delete: cinder('DELETE', `/volumes/${volume.id}`),
    metadata: cinder('GET', `/volumes/${volume.id}/metadata`),
    extend: ask({ 'os-extend': { new_size: 9 } }),
    reset: ask({ 'os-reset_status': { status: 'error' } }),
    forceDelete: ask({ 'os-force_delete': {} }),
    forceDetach: ask({ 'os-force_detach': {} }),
    detach: ask({ 'os-detach': {} }),
    reserve: ask({ 'os-reserve': null }),
    upload: ask({ 'os-volume_upload_image': { image_name: 'mine', force: true } }),
    snapshot: cinder('POST', '/snapshots', { snapshot: { volume_id: volume.id, force: true } }),
    fromVolume: cinder('POST', '/volumes', { volume: { size: 8, source_volid: volume.id } }),
    attachment: cinder('GET', `/attachments/${attachment.id}`),
    deleteAttachment: cinder('DELETE', `/attachments/${attachment.id}`),
    volumeMarker: cinder('GET', `/volumes/detail?all_tenants=1&marker=${volume.id}`),
    attachmentMarker: cinder('GET', `/attachments/detail?all_tenants=1&marker=${attachment.id}`),
    novaShow: rig.call('GET', `${own}/${volume.id}`),
    novaDetach: rig.call('DELETE', `${own}/${volume.id}`),
    novaAttach: rig.call('POST', own, { body: { volumeAttachment: { volumeId: volume.id } } }),
  }
  for (const [what, answer] of Object.entries(asked)) {
    const { status, body } = await answer
    assert.equal(status, 404, `${what}: ${status} ${JSON.stringify(body)}`)
  }
  const mapped = await rig.call('POST', '/servers', {
    body: {
      server: {
        name: 's',
        flavorRef: '1',
        networks: 'none',
        block_device_mapping_v2: [
          { source_type: 'volume', destination_type: 'volume', uuid: volume.id, boot_index: 0 },
        ],
      },
    },
  })
  assert.equal(mapped.status, 400)
  assert.match(JSON.stringify(mapped.body), /failed to get volume/)
  assert.deepEqual(await rows(), before)
})

test('no pool has room for it: the server says so, and nothing is left', async () => {
  const before = await seen()
  const flavor = { name: 'vast', ram: 64, vcpus: 1, disk: 4_000_000, id: 'vast' }
  await rig.call('POST', '/flavors', { as: 'admin', body: { flavor } })
  const made = await rig.call('POST', '/servers', {
    body: { server: { name: 's', flavorRef: 'vast', imageRef: probeImage, networks: 'none' } },
  })
  assert.equal(made.status, 202, JSON.stringify(made.body))
  const server = await rig.settle(made.body.server.id, 'ERROR')
  const fault = server?.['fault'] as { message: string }
  assert.match(
    fault.message,
    /^The root disk could not be made of the image: No valid backend was found\. cinder-lma#.*can still be prov/,
  )
  await rig.until('nothing is left', async () => (await left()).volumes.length === 0)
  assert.deepEqual(await left(), nothing)
  assert.deepEqual(await seen(), before, 'no message to Cinder users either')
})

test('a resize takes it along and lets it grow; it never shrinks', async () => {
  const id = await rig.boot()
  const source = (await show(id))['OS-EXT-SRV-ATTR:host']
  const size = async () => {
    const { volume } = await rootOf(id)
    const copy = await rig.world.records.copies.get(volume.imageId ?? '')
    assert.equal((await rig.world.backend.imageInfo(copy))?.sizeBytes, volume.sizeGib * 1024 ** 3)
    return volume.sizeGib
  }
  assert.equal((await act(id, { resize: { flavorRef: '2' } })).status, 202)
  await rig.settle(id, 'VERIFY_RESIZE')
  assert.notEqual((await show(id))['OS-EXT-SRV-ATTR:host'], source)
  const grown = await size()
  assert.equal(grown, 20)
  assert.equal((await act(id, { revertResize: null })).status, 202)
  await rig.settle(id, 'ACTIVE')
  assert.equal(await size(), grown, 'an image does not shrink')
  const flavor = { name: 'between', ram: 512, vcpus: 1, disk: 10, id: 'between' }
  await rig.call('POST', '/flavors', { as: 'admin', body: { flavor } })
  const refused = await act(id, { resize: { flavorRef: 'between' } })
  assert.equal(refused.status, 400)
  assert.match(JSON.stringify(refused.body), /Unable to resize disk down: the root disk has 20 GiB/)
  assert.deepEqual((await show(id))['os-extended-volumes:volumes_attached'], [])
  await assertWorldSound(rig.world)
})

test('what a crash left of one is removed, and nothing else', async () => {
  const id = await rig.boot()
  const { volume, attachment } = await rootOf(id)
  const kept = await rig.boot()
  const users = await rig.volume()
  await rig.call('DELETE', `/servers/${id}`)
  await rig.settle(id, 'DELETED')
  await rig.until('it is gone', async () => {
    return (await rig.world.records.volumes.find(volume.id)) === undefined
  })
  // As it is where the control plane dies between the volume and its attachment.
  const orphan = { ...volume, id: crypto.randomUUID(), imageId: null, status: 'creating' as const }
  await rig.world.records.volumes.create(orphan)
  assert.equal(await rig.world.records.attachments.find(attachment.id), undefined)
  await rig.recover()
  await rig.until('the orphan is gone', async () => {
    return (await rig.world.records.volumes.find(orphan.id)) === undefined
  })
  assert.equal((await rootOf(kept)).volume.status, 'in-use')
  assert.equal((await rig.world.records.volumes.get(users)).status, 'available')
})

test('in a configuration with local root disks it is a file on the host, as before', async () => {
  const local = await openComputeRig({ rootDisks: 'local' })
  try {
    const id = await local.boot()
    assert.deepEqual(await local.world.records.attachments.ofServer(id), [])
    assert.deepEqual(await local.world.db.selectFrom('volumes').select('id').execute(), [])
    for (const [body, reason] of [
      [{ migrate: null }, /root disk of its own/],
      [{ 'os-migrateLive': { host: null, block_migration: 'auto' } }, /is not on shared storage/],
    ] as const) {
      const refused = await local.call('POST', `/servers/${id}/action`, { as: 'admin', body })
      assert.equal(refused.status, 400)
      assert.match(JSON.stringify(refused.body), reason)
    }
  } finally {
    await local.stop()
  }
})
