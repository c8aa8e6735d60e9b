/** Cold migration and resize over HTTP, confirmed, reverted and refused. One file, over 400 lines: one request of the API and all that follows. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { serverMigrationRecords } from '../../packages/control/src/db/repositories/server-migration.ts'
import { assertWorldSound } from '../../packages/control/src/testing/invariants.ts'
import { openComputeRig, probeImage, type ComputeRig } from './compute-rig.ts'

// oxlint-disable-next-line typescript/no-explicit-any -- what a test reads of an answer it asserts
type Shown = any

let rig: ComputeRig
beforeEach(async () => {
  rig = await openComputeRig({ hosts: ['compute-1', 'compute-2', 'compute-3'] })
})
afterEach(() => rig.stop())

const act = (id: string, body: object, options: { as?: string; version?: string } = {}) =>
  rig.call('POST', `/servers/${id}/action`, { as: 'admin', body, ...options })
const show = async (id: string) => (await rig.call('GET', `/servers/${id}`, { as: 'admin' })).body.server
const ramOf = (server: Shown): number => server.flavor.ram
const reserved = () => serverMigrationRecords(rig.world.db).reservedByHost()
const on = async (host: string, id: string): Promise<string> => {
  const agent = rig.hosts.get(host)
  if (agent === undefined) throw new Error(`no ${host}`)
  return (await agent.guestStatus(id)).state
}

/** A server that boots from a volume, with a second one: nothing that it has is only on its host. */
async function bootFromVolume(
  fields: Record<string, unknown> = {},
): Promise<{ id: string; volumes: string[] }> {
  const root = await rig.volume()
  const data = await rig.volume()
  await rig.world.records.volumes.update(root, { bootable: true })
  const id = await rig.boot({
    imageRef: undefined,
    block_device_mapping_v2: [
      { source_type: 'volume', destination_type: 'volume', uuid: root, boot_index: 0 },
      { source_type: 'volume', destination_type: 'volume', uuid: data, boot_index: -1 },
    ],
    ...fields,
  })
  return { id, volumes: [root, data] }
}

async function list(query = '', version = '2.92') {
  const answer = await rig.call('GET', `/os-migrations${query}`, { as: 'admin', version })
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  return answer.body.migrations
}

async function refused(answer: Promise<{ status: number; body: Shown }>, status: number, words: RegExp) {
  const { status: given, body } = await answer
  const [fault] = Object.values(body) as { message: string }[]
  assert.equal(given, status, JSON.stringify(body))
  assert.match(fault?.message ?? '', words)
}

test('a server goes to another host, with all of its volumes, and back or not, as is asked', async () => {
  const { id, volumes } = await bootFromVolume()
  const source = (await show(id))['OS-EXT-SRV-ATTR:host'] as string
  const before = await rig.world.records.attachments.ofServer(id)
  assert.equal((await act(id, { migrate: {} })).status, 202)
  const moved = await rig.settle(id, 'VERIFY_RESIZE')
  const there = moved?.['OS-EXT-SRV-ATTR:host'] as string
  assert.notEqual(there, source)
  assert.deepEqual([await on(source, id), await on(there, id)], ['absent', 'running'])
  const after = await rig.world.records.attachments.ofServer(id)
  assert.deepEqual(after.map(({ id: each }) => each).toSorted(), before.map((each) => each.id).toSorted())
  assert.ok(after.every(({ host, headId }) => host === there && before.every((old) => old.headId !== headId)))
  assert.deepEqual(
    rig.hosts
      .get(there)
      ?.disksOf(id)
      .map(({ volumeId }) => volumeId),
    volumes,
  )
  assert.deepEqual([...(await reserved()).keys()], [source], 'room for the way back')
  await assertWorldSound(rig.world)

  assert.equal((await act(id, { revertResize: null })).status, 202)
  const back = await rig.settle(id, 'ACTIVE')
  assert.equal(back?.['OS-EXT-SRV-ATTR:host'], source)
  assert.deepEqual([await on(source, id), await on(there, id)], ['running', 'absent'])
  assert.equal((await reserved()).size, 0)

  const host = there
  assert.equal((await act(id, { migrate: { host } }, { version: '2.56' })).status, 202)
  assert.equal((await rig.settle(id, 'VERIFY_RESIZE'))?.['OS-EXT-SRV-ATTR:host'], there)
  assert.equal((await act(id, { confirmResize: null })).status, 204)
  await rig.settle(id, 'ACTIVE')
  assert.equal((await reserved()).size, 0)
  assert.equal(await on(there, id), 'running')
  await assertWorldSound(rig.world)
  const { body } = await rig.call('GET', `/servers/${id}/os-instance-actions`)
  const actions = body.instanceActions.map(({ action, message }: Shown) => [action, message])
  assert.deepEqual(actions.slice(0, 4), [
    ['confirmResize', null],
    ['migrate', null],
    ['revertResize', null],
    ['migrate', null],
  ])
  assert.deepEqual(
    (await list()).map((each: Shown) => [
      each.status,
      each.migration_type,
      each.source_compute,
      each.dest_compute,
    ]),
    [
      ['confirmed', 'migration', source, there],
      ['reverted', 'migration', source, there],
    ],
  )
})

test('who is not confirmed in the configured time is, locked or not; in a deployment without one never', async () => {
  const own = await openComputeRig({ resizeConfirmWindowSeconds: 3600 })
  const resized = async (at: ComputeRig) => {
    const id = await at.boot()
    await at.call('POST', `/servers/${id}/action`, { body: { resize: { flavorRef: '2' } } })
    await at.settle(id, 'VERIFY_RESIZE')
    return id
  }
  const twoHoursAgo = new Date(Date.now() - 7_200_000).toISOString()
  const age = (at: ComputeRig, id: string) =>
    at.world.db
      .updateTable('server_migrations')
      .set({ updated_at: twoHoursAgo })
      .where('server_id', '=', id)
      .execute()
  const statusIn = async (at: ComputeRig, id: string) =>
    (await at.call('GET', `/servers/${id}`, { as: 'admin' })).body.server.status
  try {
    const old = await resized(own)
    const fresh = await resized(own)
    await age(own, old)
    await own.call('POST', `/servers/${old}/action`, { as: 'admin', body: { lock: null } })
    own.compute.start()
    await own.settle(old, 'ACTIVE')
    const migrations = (await own.call('GET', '/os-migrations', { as: 'admin' })).body.migrations
    const found = Object.fromEntries(migrations.map((one: Shown) => [one.instance_uuid, one.status]))
    assert.deepEqual(found, { [old]: 'confirmed', [fresh]: 'finished' })
    assert.equal(await statusIn(own, fresh), 'VERIFY_RESIZE')
    const { body } = await own.call('GET', `/servers/${old}/os-instance-actions`)
    const [last] = body.instanceActions
    assert.deepEqual([last.action, last.message], ['confirmResize', null])
    assert.equal(ramOf((await own.call('GET', `/servers/${old}`)).body.server), 2048)
  } finally {
    await own.stop()
  }
  const never = await resized(rig)
  await age(rig, never)
  rig.compute.start()
  await rig.compute.refresh()
  assert.equal(await statusIn(rig, never), 'VERIFY_RESIZE')
})

test('a resize gives another flavor; a stopped server stays stopped; a revert gives the old one back', async () => {
  const { id } = await bootFromVolume()
  await act(id, { 'os-stop': null })
  await rig.settle(id, 'SHUTOFF')
  const source = (await show(id))['OS-EXT-SRV-ATTR:host'] as string
  assert.equal((await act(id, { resize: { flavorRef: '2' } }, { as: 'member' })).status, 202)
  const resized = await rig.settle(id, 'VERIFY_RESIZE')
  const there = resized?.['OS-EXT-SRV-ATTR:host'] as string
  assert.equal(ramOf(resized), 2048)
  assert.equal(resized?.['OS-EXT-STS:power_state'], 4)
  assert.equal(await on(there, id), 'absent')
  await refused(act(id, { 'os-getConsoleOutput': {} }), 409, /is not ready/)
  assert.deepEqual([...(await reserved())], [[source, { vcpus: 1, memoryMib: 512 }]], 'of the old flavor')
  assert.equal((await act(id, { revertResize: null }, { as: 'member' })).status, 202)
  const back = await rig.settle(id, 'SHUTOFF')
  assert.equal(ramOf(back), 512)
  assert.equal(back?.['OS-EXT-SRV-ATTR:host'], source)

  assert.equal((await act(id, { resize: { flavorRef: '2' } }, { as: 'member' })).status, 202)
  await rig.settle(id, 'VERIFY_RESIZE')
  assert.equal((await act(id, { confirmResize: null }, { as: 'member' })).status, 204)
  const kept = await rig.settle(id, 'SHUTOFF')
  assert.equal(ramOf(kept), 2048)
  assert.equal((await act(id, { 'os-start': null })).status, 202)
  await rig.settle(id, 'ACTIVE')
})

test('where the destination cannot start it, the server goes back and runs, and says why', async () => {
  const { id } = await bootFromVolume()
  const source = (await show(id))['OS-EXT-SRV-ATTR:host'] as string
  rig.faults.before = (call, host) => {
    if (call === 'ensureGuest' && host !== source) throw new Error('QEMU does not start')
  }
  assert.equal((await act(id, { resize: { flavorRef: '2' } })).status, 202)
  const back = await rig.settle(id, 'ACTIVE')
  assert.equal(back?.['OS-EXT-SRV-ATTR:host'], source)
  assert.equal(ramOf(back), 512)
  assert.equal(await on(source, id), 'running')
  assert.equal((await reserved()).size, 0)
  const [migration] = await list()
  assert.equal(migration.status, 'error')
  const { body } = await rig.call('GET', `/servers/${id}/os-instance-actions`)
  assert.match(body.instanceActions[0].message, /QEMU does not start/)
  await assertWorldSound(rig.world)
})

test('a resized server takes what Nova lets it take, shows that its guest died, and can be deleted', async () => {
  const { id, volumes } = await bootFromVolume()
  await act(id, { resize: { flavorRef: '2' } })
  await rig.settle(id, 'VERIFY_RESIZE')
  for (const body of [
    { 'os-stop': null },
    { 'os-start': null },
    { reboot: { type: 'HARD' } },
    { pause: null },
  ]) {
    await refused(act(id, body), 409, /while it is in vm_state resized/)
  }
  await refused(act(id, { migrate: null }), 409, /Cannot 'migrate' instance .* in vm_state resized/)
  await refused(
    act(id, { resize: { flavorRef: '1' } }),
    409,
    /Cannot 'resize' instance .* in vm_state resized/,
  )
  const more = await rig.volume()
  const attach = { volumeAttachment: { volumeId: more } }
  const attached = await rig.call('POST', `/servers/${id}/os-volume_attachments`, { body: attach })
  assert.equal(attached.status, 200, JSON.stringify(attached.body))
  await rig.until('in use', async () => (await rig.world.records.volumes.get(more)).status === 'in-use')

  rig.hosts.get((await show(id))['OS-EXT-SRV-ATTR:host'])?.crash(id)
  await rig.compute.refresh()
  const crashed = await show(id)
  assert.deepEqual([crashed.status, crashed['OS-EXT-STS:power_state']], ['VERIFY_RESIZE', 6])
  assert.equal((await act(id, { revertResize: null })).status, 202)
  await rig.settle(id, 'ACTIVE')

  await act(id, { resize: { flavorRef: '2' } })
  await rig.settle(id, 'VERIFY_RESIZE')
  assert.equal((await rig.call('DELETE', `/servers/${id}`)).status, 204)
  await rig.until('gone', async () => (await rig.call('GET', `/servers/${id}`)).status === 404)
  assert.equal((await reserved()).size, 0)
  for (const volume of [...volumes, more]) {
    assert.equal((await rig.world.records.volumes.get(volume)).status, 'available')
  }
  assert.equal((await list())[0].status, 'confirmed')
  await assertWorldSound(rig.world)
})

test('an administrator resets the state of a resized server: it stays, and nothing is held back for it', async () => {
  const { id } = await bootFromVolume()
  await act(id, { resize: { flavorRef: '2' } })
  await rig.settle(id, 'VERIFY_RESIZE')
  assert.equal((await act(id, { 'os-resetState': { state: 'active' } })).status, 202)
  await rig.settle(id, 'ACTIVE')
  assert.equal((await reserved()).size, 0)
  assert.equal((await list())[0].status, 'confirmed')
  assert.equal((await act(id, { migrate: null })).status, 202, 'as any other')
  await rig.settle(id, 'VERIFY_RESIZE')
})

test('what a stop of the control plane left of a migration gets its end at the next start', async () => {
  const { id } = await bootFromVolume()
  await act(id, { resize: { flavorRef: '2' } })
  await rig.settle(id, 'VERIFY_RESIZE')
  // Its operation ends a moment after that, and until then it is not left.
  await rig.until('the operations have ended', async () => {
    const runs = await rig.world.db.selectFrom('operations').select('ended_at').execute()
    return runs.every((run) => run.ended_at !== null)
  })
  const records = serverMigrationRecords(rig.world.db)
  const [finished] = await records.list({})
  if (finished === undefined) throw new Error('no migration')
  const before = '2026-01-01T00:00:00.000Z'
  await records.update(finished.id, { status: 'reverting', updatedAt: before })
  const begun = crypto.randomUUID()
  await records.create({
    ...finished,
    id: begun,
    status: 'pre-migrating',
    reserves: 'compute-3',
    updatedAt: before,
  })
  const young = crypto.randomUUID()
  await records.create({ ...finished, id: young, status: 'pre-migrating', reserves: 'compute-3' })
  await rig.compute.prepare({ fence: 1 })
  const statuses = async (which: string) => (await records.get(which)).status
  assert.deepEqual([await statuses(finished.id), await statuses(begun)], ['finished', 'error'])
  assert.equal((await records.get(begun)).reserves, null)
  assert.equal(await statuses(young), 'pre-migrating', 'one that an operation has just begun')
  assert.equal((await act(id, { revertResize: null })).status, 202)
  await rig.settle(id, 'ACTIVE')
})

test('a server is deleted on its way: it comes back first, and then all of it is gone', async () => {
  const { id, volumes } = await bootFromVolume()
  const source = (await show(id))['OS-EXT-SRV-ATTR:host'] as string
  let release = (): void => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  rig.faults.before = (call, host) => (call === 'ensureGuest' && host !== source ? held : undefined)
  assert.equal((await act(id, { migrate: null })).status, 202)
  await rig.until('it is there', async () => (await show(id))['OS-EXT-STS:task_state'] === 'resize_finish')
  assert.equal((await show(id)).status, 'RESIZE')
  assert.equal((await rig.call('DELETE', `/servers/${id}`)).status, 204)
  await rig.until('deleting', async () => (await show(id))['OS-EXT-STS:task_state'] === 'deleting')
  // Released before, the migration would come to its end, and the deletion confirm it.
  await rig.untilCancelling()
  release()
  await rig.until('gone', async () => (await rig.call('GET', `/servers/${id}`)).status === 404)
  for (const volume of volumes) {
    assert.equal((await rig.world.records.volumes.get(volume)).status, 'available')
  }
  assert.equal((await reserved()).size, 0)
  assert.equal((await list())[0].status, 'error')
  await assertWorldSound(rig.world)
})

test('each refusal has its reason, and changes nothing', async () => {
  const { id } = await bootFromVolume()
  const source = (await show(id))['OS-EXT-SRV-ATTR:host'] as string
  const resize = (flavorRef: string, as = 'member') => act(id, { resize: { flavorRef } }, { as })
  await refused(act(id, { migrate: null }, { as: 'member' }), 403, /os-migrate-server:migrate/)
  await refused(
    act(id, { migrate: { host: source } }),
    400,
    /Cannot migrate to the host where the server exists/,
  )
  await refused(act(id, { migrate: { host: 'nowhere' } }), 400, /Compute host nowhere could not be found/)
  await refused(act(id, { migrate: { to: 'compute-2' } }), 400, /'to' was unexpected/)
  await refused(act(id, { confirmResize: null }), 409, /Cannot 'confirmResize' instance .* vm_state active/)
  await refused(act(id, { revertResize: null }), 409, /Cannot 'revertResize' instance .* vm_state active/)
  await refused(resize('1'), 400, /When resizing, instances must change flavor!/)
  await refused(resize('none'), 400, /Flavor none could not be found/)
  await refused(act(id, { resize: {} }), 400, /'flavorRef' is a required property/)
  await refused(act(id, { resize: { flavorRef: '2' } }, { as: 'other' }), 404, /could not be found/)
  await refused(act('5e4e4e4e-0000-4000-8000-0000000000ff', { migrate: null }), 404, /could not be found/)
  const project = (await show(id)).tenant_id
  await rig.call('PUT', `/os-quota-sets/${project}`, {
    as: 'admin',
    body: { quota_set: { ram: 1024, force: true } },
  })
  await refused(resize('2'), 403, /Quota exceeded for ram: Requested 1536, but already used 512 of 1024 ram/)
  await act(id, { lock: null }, { as: 'member' })
  await refused(resize('2'), 409, /is locked/)
  await act(id, { unlock: null }, { as: 'member' })
  for (const name of ['compute-1', 'compute-2', 'compute-3']) {
    if (name === source) continue
    const change = { service: undefined, host: name, binary: 'nova-compute', disabled_reason: 'disk broken' }
    const disabled = await rig.call('PUT', '/os-services/disable-log-reason', {
      as: 'admin',
      version: '2.1',
      body: change,
    })
    assert.equal(disabled.status, 200, JSON.stringify(disabled.body))
  }
  await refused(
    act(id, { migrate: null }),
    400,
    /No valid host was found\. compute-\d is disabled: disk broken/,
  )
  await refused(resize('1', 'admin'), 400, /must change flavor/)
  const shown = await show(id)
  assert.deepEqual([shown.status, shown['OS-EXT-STS:task_state']], ['ACTIVE', null])
  assert.equal((await reserved()).size, 0)
  assert.deepEqual(await list(), [], 'no record of what never began')
})

test('a disk that is only on its host keeps a server there; of an image a disk never shrinks', async () => {
  const id = await rig.boot({ imageRef: probeImage })
  // As servers are that were made before root disks were volumes, or with `compute.root_disks: local`.
  const boot = JSON.stringify({ rootDisk: { format: 'raw', sizeBytes: 2 ** 30 } })
  await rig.world.db.updateTable('servers').set({ boot }).where('id', '=', id).execute()
  await refused(
    act(id, { migrate: null }),
    400,
    /root disk of its own.*make one anew, or boot it from a volume/,
  )
  await refused(act(id, { resize: { flavorRef: '2' } }), 400, /root disk of its own/)
  const larger = await rig.boot({ imageRef: probeImage, flavorRef: '2' })
  await refused(act(larger, { resize: { flavorRef: '1' } }), 400, /Unable to resize disk down/)
  assert.equal((await show(id)).status, 'ACTIVE')
})

test('of two requests one begins; a volume that is worked on keeps its server where it is', async () => {
  const { id } = await bootFromVolume()
  const both = await Promise.all([act(id, { migrate: null }), act(id, { migrate: null })])
  assert.deepEqual(both.map(({ status }) => status).toSorted(), [202, 409])
  await rig.settle(id, 'VERIFY_RESIZE')
  assert.equal((await list()).length, 1)
  let release = (): void => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  rig.faults.before = (call) => (call === 'ensureDisk' ? held : undefined)
  const volume = await rig.volume()
  const attach = { volumeAttachment: { volumeId: volume } }
  assert.equal((await rig.call('POST', `/servers/${id}/os-volume_attachments`, { body: attach })).status, 200)
  await refused(act(id, { revertResize: null }), 409, new RegExp(`Volume ${volume} is attaching`))
  assert.equal((await show(id)).status, 'VERIFY_RESIZE')
  release()
  await rig.until('in use', async () => (await rig.world.records.volumes.get(volume)).status === 'in-use')
  assert.equal((await act(id, { revertResize: null })).status, 202)
  await rig.settle(id, 'ACTIVE')
})

test('the list of migrations: fields by microversion, filters, pages', async () => {
  const first = await bootFromVolume()
  const second = await bootFromVolume()
  await act(first.id, { migrate: null })
  await rig.settle(first.id, 'VERIFY_RESIZE')
  await act(second.id, { resize: { flavorRef: '2' } })
  await rig.settle(second.id, 'VERIFY_RESIZE')
  const oldest = (await list('', '2.1')).at(-1)
  assert.deepEqual(Object.keys(oldest).toSorted(), [
    'created_at',
    'dest_compute',
    'dest_host',
    'dest_node',
    'id',
    'instance_uuid',
    'new_instance_type_id',
    'old_instance_type_id',
    'source_compute',
    'source_node',
    'status',
    'updated_at',
  ])
  assert.equal((await list('', '2.23'))[0].migration_type, 'resize')
  assert.equal((await list('', '2.23'))[0].uuid, undefined)
  const all = await list()
  assert.deepEqual(
    all.map((each: Shown) => [each.instance_uuid, each.old_instance_type_id, each.new_instance_type_id]),
    [
      [second.id, 1, 2],
      [first.id, 1, 1],
    ],
  )
  assert.equal(all[0].user_id, 'a1')
  const ids = async (query: string) => (await list(query)).map((each: Shown) => each.instance_uuid)
  assert.deepEqual(await ids('?migration_type=migration'), [first.id])
  assert.deepEqual(await ids('?migration_type=flight'), [])
  assert.deepEqual(await ids('?status=finished'), [second.id, first.id])
  assert.deepEqual(await ids('?status=error'), [])
  assert.deepEqual(await ids(`?instance_uuid=${second.id}`), [second.id])
  assert.deepEqual(await ids(`?host=${all[1].dest_compute}&instance_uuid=${first.id}`), [first.id])
  assert.deepEqual(await ids('?source_compute=elsewhere'), [])
  assert.deepEqual(await ids(`?changes-since=${all[0].updated_at.slice(0, 23)}Z`), [second.id])
  assert.deepEqual(await ids('?changes-before=2020-01-01T00:00:00Z'), [])
  assert.deepEqual(await ids('?user_id=nobody'), [])
  const page = await rig.call('GET', '/os-migrations?limit=1', { as: 'admin' })
  assert.equal(page.body.migrations.length, 1)
  const next = new URL(page.body.migrations_links[0].href)
  assert.equal(next.searchParams.get('marker'), all[0].uuid)
  const rest = await rig.call('GET', `/os-migrations${next.search}`, { as: 'admin' })
  assert.deepEqual(
    rest.body.migrations.map((each: Shown) => each.uuid),
    [all[1].uuid],
  )
  assert.equal(rest.body.migrations_links, undefined)
  const get = (query: string, as = 'admin') => rig.call('GET', `/os-migrations${query}`, { as })
  await refused(get('?marker=none'), 400, /Marker none could not be found/)
  await refused(get('?colour=red'), 400, /'colour' was unexpected/)
  await refused(get('?changes-since=2026-01-02&changes-before=2026-01-01'), 400, /must be less than or equal/)
  await refused(get('', 'member'), 403, /os-migrations:index/)

  const mine = `/servers/${first.id}/migrations`
  assert.deepEqual((await rig.call('GET', mine, { as: 'admin' })).body, { migrations: [] })
  await refused(rig.call('GET', mine), 403, /servers:migrations:index/)
  await refused(rig.call('GET', mine, { as: 'admin', version: '2.22' }), 404, /could not be found/)
  await refused(rig.call('GET', `${mine}/${all[1].id}`, { as: 'admin' }), 404, /is not live-migration/)
  await refused(rig.call('GET', `${mine}/999`, { as: 'admin' }), 404, /In-progress live migration 999/)
})
