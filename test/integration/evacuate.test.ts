import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { openComputeRig, probeImage, type ComputeRig } from './compute-rig.ts'

let rig: ComputeRig
before(async () => {
  rig = await openComputeRig({ hosts: ['compute-1', 'compute-2', 'compute-3'] })
})
after(() => rig.stop())

const evacuate = (id: string, body: Record<string, unknown> = {}, version = '2.92', as = 'admin') =>
  rig.call('POST', `/servers/${id}/action`, { as, body: { evacuate: body }, version })

const forceDown = (host: string, down: boolean) =>
  rig.call('PUT', '/os-services/force-down', {
    as: 'admin',
    body: { host, binary: 'nova-compute', forced_down: down },
    version: '2.11',
  })

const show = async (id: string) => (await rig.call('GET', `/servers/${id}`, { as: 'admin' })).body.server

/** A server with a volume, at compute-1. */
async function bootAt1(): Promise<{ id: string; volume: string }> {
  for (const host of ['compute-2', 'compute-3']) await disable(host, true)
  const root = await rig.volume({ imageRef: probeImage })
  const id = await rig.boot({
    imageRef: undefined,
    block_device_mapping_v2: [
      { source_type: 'volume', destination_type: 'volume', uuid: root, boot_index: 0 },
    ],
  })
  for (const host of ['compute-2', 'compute-3']) await disable(host, false)
  const volume = await rig.volume()
  const made = await rig.call('POST', `/servers/${id}/os-volume_attachments`, {
    body: { volumeAttachment: { volumeId: volume } },
  })
  assert.equal(made.status, 200)
  await rig.until('in use', async () => (await rig.world.records.volumes.get(volume)).status === 'in-use')
  assert.equal((await show(id))['OS-EXT-SRV-ATTR:host'], 'compute-1')
  return { id, volume }
}

const disable = (host: string, disabled: boolean) =>
  rig.call('PUT', `/os-services/${disabled ? 'disable' : 'enable'}`, {
    as: 'admin',
    body: { host, binary: 'nova-compute' },
    version: '2.1',
  })

test('a server of a host that was forced down goes on at the one that was asked for, and its old guest is ended', async () => {
  const { id, volume } = await bootAt1()
  const before = await rig.world.records.attachments.ofServer(id)
  await forceDown('compute-1', true)
  assert.equal((await evacuate(id, { host: 'compute-3' })).status, 202)
  const after = await rig.settle(id, 'ACTIVE')
  assert.equal(after?.['OS-EXT-SRV-ATTR:host'], 'compute-3')
  const moved = await rig.world.records.attachments.ofServer(id)
  assert.deepEqual(
    moved.map((one) => [one.id, one.host]),
    before.map((one) => [one.id, 'compute-3']),
    'the attachments stay',
  )
  assert.ok(moved.every(({ headId }) => !before.some((one) => one.headId === headId)))
  assert.equal((await rig.world.records.volumes.get(volume)).status, 'in-use')
  assert.equal((await rig.hosts.get('compute-3')?.guestStatus(id))?.state, 'running')
  await rig.compute.refresh()
  assert.equal((await rig.hosts.get('compute-1')?.guestStatus(id))?.state, 'absent', 'the zombie is ended')
  const { migrations } = (await rig.call('GET', '/os-migrations?migration_type=evacuation', { as: 'admin' }))
    .body
  assert.deepEqual(
    migrations.map((one: Record<string, unknown>) => [
      one['instance_uuid'],
      one['status'],
      one['dest_compute'],
    ]),
    [[id, 'done', 'compute-3']],
  )
  const actions = (await rig.call('GET', `/servers/${id}/os-instance-actions`, { as: 'admin' })).body
  assert.equal(actions.instanceActions[0].action, 'evacuate')
  await forceDown('compute-1', false)
})

test('a stopped server stays stopped', async () => {
  const { id } = await bootAt1()
  await rig.call('POST', `/servers/${id}/action`, { body: { 'os-stop': null } })
  await rig.settle(id, 'SHUTOFF')
  await forceDown('compute-1', true)
  assert.equal((await evacuate(id)).status, 202)
  const after = await rig.settle(id, 'SHUTOFF')
  assert.notEqual(after?.['OS-EXT-SRV-ATTR:host'], 'compute-1')
  await forceDown('compute-1', false)
})

test('each refusal has its own reason and status, and changes nothing', async () => {
  const { id } = await bootAt1()
  const before = await show(id)
  const refused = async (body: Record<string, unknown>, status: number, reason: RegExp, version?: string) => {
    const answer = await evacuate(id, body, version)
    const said = JSON.stringify(answer.body)
    assert.equal(answer.status, status, said)
    assert.match(said, reason)
  }
  await refused({}, 400, /Compute service of compute-1 is still in use/)
  await forceDown('compute-1', true)
  await refused({ host: 'compute-1' }, 400, /The target host can't be the same one/)
  await refused({ host: 'nowhere' }, 404, /Compute host nowhere not found/)
  await disable('compute-2', true)
  await refused({ host: 'compute-2' }, 400, /No valid host was found. compute-2 is disabled/)
  await refused({ host: 'compute-2', force: true }, 400, /compute-2 is disabled/, '2.67')
  await refused({ force: true }, 400, /Can't force to a non-provided destination/, '2.30')
  await refused({ host: 'compute-3', force: true }, 400, /'force' was unexpected/, '2.68')
  await refused({ host: 'compute-3' }, 400, /'onSharedStorage' is a required property/, '2.13')
  await refused({ onSharedStorage: true }, 400, /'onSharedStorage' was unexpected/, '2.14')
  await refused({ onSharedStorage: true, adminPass: 'x' }, 400, /can't be changed on existing disk/, '2.13')
  await disable('compute-3', true)
  await refused({}, 400, /No valid host was found. compute-2 is disabled\. compute-3 is disabled/)
  const member = await evacuate(id, {}, '2.92', 'member')
  assert.equal(member.status, 403)
  for (const host of ['compute-2', 'compute-3']) await disable(host, false)
  await rig.world.db.updateTable('servers').set({ vm_state: 'paused' }).where('id', '=', id).execute()
  await refused({}, 409, /Cannot 'evacuate' instance .* while it is in vm_state paused/)
  await rig.world.db
    .updateTable('servers')
    .set({ vm_state: 'active', task_state: 'rebuilding' })
    .where('id', '=', id)
    .execute()
  await refused({}, 409, /while it is in task_state rebuilding/)
  await rig.world.db.updateTable('servers').set({ task_state: null }).where('id', '=', id).execute()
  await forceDown('compute-1', false)
  const { updated: _, ...unchanged } = before
  const { updated: __, ...now } = await show(id)
  assert.deepEqual(now, unchanged)
})

test('one with a root disk of its own stays, for its disk is on the host that is down', async () => {
  for (const host of ['compute-2', 'compute-3']) await disable(host, true)
  const id = await rig.boot()
  // As servers are that were made before root disks were volumes, or with `compute.root_disks: local`.
  const boot = JSON.stringify({ rootDisk: { format: 'raw', sizeBytes: 2 ** 30 } })
  await rig.world.db.updateTable('servers').set({ boot }).where('id', '=', id).execute()
  for (const host of ['compute-2', 'compute-3']) await disable(host, false)
  await forceDown('compute-1', true)
  const answer = await evacuate(id)
  assert.equal(answer.status, 409)
  assert.match(JSON.stringify(answer.body), /has a root disk of its own, which is on host compute-1/)
  await forceDown('compute-1', false)
})

test('up to 2.13 a password is answered, unless the disk is said to be shared', async () => {
  const passwords: unknown[] = []
  for (const onSharedStorage of [false, true]) {
    const { id } = await bootAt1()
    await forceDown('compute-1', true)
    const answer = await evacuate(id, { onSharedStorage }, '2.13')
    assert.equal(answer.status, 200)
    passwords.push(answer.body.adminPass)
    await rig.settle(id, 'ACTIVE')
    await forceDown('compute-1', false)
  }
  assert.equal(String(passwords[0]).length, 12)
  assert.equal(passwords[1], null)
})
