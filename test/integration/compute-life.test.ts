import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { buildingServer } from '../../packages/control/src/testing/servers.ts'
import { attachmentOf, makeVolume } from '../../packages/control/src/testing/world.ts'
import { serverRecords } from '../../packages/control/src/db/repositories/server.ts'
import { diskImage, openComputeRig, probeImage, type ComputeRig } from './compute-rig.ts'

let rig: ComputeRig
beforeEach(async () => {
  rig = await openComputeRig({ hosts: ['compute-1'] })
})
afterEach(() => rig.stop())

const show = async (id: string) => (await rig.call('GET', `/servers/${id}`, { as: 'admin' })).body.server
const agent = () => {
  const found = rig.hosts.get('compute-1')
  if (found === undefined) throw new Error('no compute-1')
  return found
}
/** One round of the watch over guests. */
const look = () => rig.compute.refresh()

test('a guest that its storage paused is shown so, and goes on', async () => {
  const id = await rig.boot()
  agent().setStorageFault(id, true)
  await look()
  const paused = await show(id)
  assert.equal(paused.status, 'ACTIVE')
  assert.equal(paused['OS-EXT-STS:power_state'], 3)
  assert.match(paused.fault.message, /paused by a storage fault.*the storage does not answer/)
  agent().setStorageFault(id, false)
  await look()
  const back = await show(id)
  assert.equal(back['OS-EXT-STS:power_state'], 1)
  assert.equal(back.fault, undefined)
})

test('a guest that died is SHUTOFF with the reason, and starts again with its volumes', async () => {
  const id = await rig.boot()
  const volume = await rig.volume()
  await rig.call('POST', `/servers/${id}/os-volume_attachments`, {
    body: { volumeAttachment: { volumeId: volume } },
  })
  await rig.until('in-use', async () => (await rig.world.records.volumes.get(volume)).status === 'in-use')
  agent().crash(id)
  await look()
  const dead = await show(id)
  assert.equal(dead.status, 'SHUTOFF')
  assert.match(dead.fault.message, /the QEMU process died/)
  await rig.call('POST', `/servers/${id}/action`, { body: { 'os-start': null } })
  const alive = await rig.settle(id, 'ACTIVE')
  assert.equal(alive?.['fault'], undefined)
  assert.deepEqual(
    agent()
      .disksOf(id)
      .map(({ volumeId, boot }) => [volumeId === volume, boot]),
    [
      [false, true],
      [true, false],
    ],
    'its root disk, and the volume',
  )
})

test('a host that does not answer is down, and comes up again', async () => {
  const id = await rig.boot()
  rig.faults.before = () => {
    throw new Error('no route to host')
  }
  await look()
  const [hypervisor] = (await rig.call('GET', '/os-hypervisors', { as: 'admin' })).body.hypervisors
  // Down only after a minute of silence; a server keeps its state meanwhile.
  assert.equal(hypervisor.state, 'up')
  assert.equal((await show(id)).status, 'ACTIVE')
  const stop = await rig.call('POST', `/servers/${id}/action`, { body: { 'os-stop': null } })
  assert.equal(stop.status, 202)
  rig.faults.before = () => {}
  await rig.until('an end', async () => (await show(id))['OS-EXT-STS:task_state'] === null)
})

test('a build that fails says why, and leaves nothing behind', async () => {
  const volume = await rig.volume()
  rig.faults.before = (call) => {
    if (call === 'ensureGuest') throw new Error('QEMU does not start')
  }
  const made = await rig.call('POST', '/servers', {
    body: {
      server: {
        name: 's',
        flavorRef: '1',
        imageRef: probeImage,
        networks: 'none',
        block_device_mapping_v2: [
          { source_type: 'volume', destination_type: 'volume', uuid: volume, boot_index: -1 },
        ],
      },
    },
  })
  assert.equal(made.status, 202)
  const failed = await rig.settle(made.body.server.id, 'ERROR')
  const fault = failed?.['fault'] as { message: string } | undefined
  assert.match(fault?.message ?? '', /QEMU does not start/)
  assert.equal((await rig.world.records.volumes.get(volume)).status, 'available')
  const holders = [...rig.world.holders.values()].flatMap((each) => [...each.holders.keys()])
  assert.deepEqual(holders, [])
  const { body } = await rig.call('GET', `/servers/${made.body.server.id}/os-instance-actions`)
  assert.match(body.instanceActions[0].message, /QEMU does not start/)
})

test('a server that is still being built can be deleted', async () => {
  let release = (): void => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  rig.faults.before = (call) => (call === 'ensureGuest' ? held : undefined)
  const made = await rig.call('POST', '/servers', {
    body: { server: { name: 's', flavorRef: '1', imageRef: probeImage, networks: 'none' } },
  })
  const { id } = made.body.server
  await rig.until('spawning', async () => (await show(id))['OS-EXT-STS:task_state'] === 'spawning')
  assert.equal((await rig.call('DELETE', `/servers/${id}`)).status, 204)
  assert.equal((await rig.call('DELETE', `/servers/${id}`)).status, 204, 'twice')
  release()
  await rig.until('gone', async () => (await rig.call('GET', `/servers/${id}`)).status === 404)
  assert.equal((await agent().guestStatus(id)).state, 'absent')
})

test('what a stop between claim and operation left gets its end at the next start', async () => {
  const { world } = rig
  const servers = serverRecords(world.db)
  const [building, idle] = await servers.create([
    buildingServer({ id: '5e4e4e4e-0000-4000-8000-000000000011' }),
    buildingServer({
      id: '5e4e4e4e-0000-4000-8000-000000000012',
      vmState: 'stopped',
      taskState: 'powering-on',
      host: 'compute-1',
      launchedAt: '2026-11-22T10:00:00.000Z',
    }),
  ])
  if (building === undefined || idle === undefined) throw new Error('no servers')
  const taken = await makeVolume(world, world.lma, { attached: false })
  await world.records.volumes.update(taken.id, { status: 'attaching' })
  await world.records.attachments.create({
    ...attachmentOf(taken),
    serverId: building.id,
    host: null,
    status: 'attaching',
  })
  const leaving = await makeVolume(world, world.lma, { attached: false })
  await world.records.volumes.update(leaving.id, { status: 'detaching' })
  await world.records.attachments.create({
    ...attachmentOf(leaving),
    serverId: idle.id,
    status: 'detaching',
  })
  await rig.compute.prepare({ fence: 1 })
  const failed = await show(building.id)
  assert.equal(failed.status, 'ERROR')
  assert.match(failed.fault.message, /stopped before the request was recorded/)
  assert.equal((await show(idle.id))['OS-EXT-STS:task_state'], null)
  assert.equal((await world.records.volumes.get(taken.id)).status, 'available')
  assert.deepEqual(await world.records.attachments.ofServer(building.id), [])
  assert.equal((await world.records.volumes.get(leaving.id)).status, 'in-use')
  assert.equal((await world.records.attachments.ofServer(idle.id))[0]?.status, 'attached')
})

test('a volume that migrates is neither attached nor detached, and a deletion cancels the migration', async () => {
  const id = await rig.boot()
  const volume = await rig.volume()
  const path = `/servers/${id}/os-volume_attachments`
  const body = { volumeAttachment: { volumeId: volume } }
  const { volumes } = rig.world.records
  await volumes.update(volume, { migrationStatus: 'migrating' })
  const attach = await rig.call('POST', path, { body })
  assert.equal(attach.status, 400)
  assert.match(attach.body.badRequest.message, /being migrated/)
  await volumes.update(volume, { migrationStatus: null })
  await rig.call('POST', path, { body })
  await rig.until('in-use', async () => (await volumes.get(volume)).status === 'in-use')
  await volumes.update(volume, { migrationStatus: 'migrating' })
  const detach = await rig.call('DELETE', `${path}/${volume}`)
  assert.equal(detach.status, 409)
  assert.match(detach.body.conflictingRequest.message, /being migrated/)
  assert.equal((await volumes.get(volume)).status, 'in-use')
  assert.equal((await rig.call('DELETE', `/servers/${id}`)).status, 204)
  await rig.until('the migration is asked to stop', () => rig.cancelled.includes(volume))
  await volumes.update(volume, { migrationStatus: null })
  await rig.until('gone', async () => (await rig.call('GET', `/servers/${id}`)).status === 404)
  assert.equal((await volumes.get(volume)).status, 'available')
})

test('a refused request for servers leaves no volume, claim or server', async () => {
  const mine = await rig.volume()
  const project = '0123456789abcdef0123456789abcdef'
  await rig.call('PUT', `/volume/v3/${project}/os-quota-sets/${project}`, {
    as: 'admin',
    body: { quota_set: { volumes: 2 } },
  })
  const blank = { source_type: 'blank', destination_type: 'volume', volume_size: 1, boot_index: -1 }
  const refused = await rig.call('POST', '/servers', {
    body: {
      server: {
        name: 's',
        flavorRef: '1',
        imageRef: probeImage,
        networks: 'none',
        block_device_mapping_v2: [
          { source_type: 'volume', destination_type: 'volume', uuid: mine, boot_index: -1 },
          blank,
          { ...blank, volume_size: 2 },
        ],
      },
    },
  })
  assert.ok(refused.status === 403 || refused.status === 413, JSON.stringify(refused.body))
  assert.deepEqual((await rig.call('GET', '/servers')).body.servers, [])
  assert.equal((await rig.world.records.volumes.get(mine)).status, 'available')
  await rig.until('the made one is gone', async () => {
    const { body } = await rig.call('GET', `/volume/v3/${project}/volumes`)
    return body.volumes.length === 1
  })
})

test('lists: pages, sorts, filters, tags, and what was deleted', async () => {
  const ids: string[] = []
  for (const name of ['a1', 'a2', 'b1', 'a10']) ids.push(await rig.boot({ name, flavorRef: '6' }))
  const names = async (query: string, as = 'member') => {
    const answer = await rig.call('GET', `/servers${query}`, { as })
    assert.equal(answer.status, 200, JSON.stringify(answer.body))
    return answer.body.servers.map((each: { name: string }) => each.name)
  }
  assert.deepEqual(await names(''), ['a10', 'b1', 'a2', 'a1'], 'newest first')
  assert.deepEqual(await names('?name=a1'), ['a10', 'a1'], 'anywhere in the name')
  assert.deepEqual(await names('?name=^a1$'), ['a1'])
  assert.deepEqual(await names('?name=a.$'), ['a2', 'a1'])
  assert.deepEqual(await names('?name=%25'), [], 'no wildcard of SQL')
  assert.deepEqual(await names('?sort_key=display_name&sort_dir=asc'), ['a1', 'a10', 'a2', 'b1'])
  const first = await rig.call('GET', '/servers?limit=3&sort_key=display_name&sort_dir=desc')
  assert.equal(first.body.servers.length, 3)
  const next = new URL(first.body.servers_links[0].href)
  const second = await rig.call('GET', next.pathname + next.search)
  assert.deepEqual(
    second.body.servers.map((each: { name: string }) => each.name),
    ['a1'],
  )
  assert.equal(second.body.servers_links, undefined)
  assert.equal((await rig.call('GET', '/servers?marker=nothing')).status, 400)
  assert.equal((await rig.call('GET', '/servers?limit=-1')).status, 400)
  assert.equal((await rig.call('GET', '/servers?colour=red')).status, 400)
  assert.equal((await rig.call('GET', '/servers?colour=red', { version: '2.60' })).status, 200)
  await rig.call('PUT', `/servers/${ids[0]}/tags`, { body: { tags: ['blue', 'big'] } })
  await rig.call('PUT', `/servers/${ids[1]}/tags/blue`)
  assert.deepEqual(await names('?tags=blue,big'), ['a1'])
  assert.deepEqual(await names('?tags-any=big,blue'), ['a2', 'a1'])
  assert.deepEqual(await names('?not-tags-any=big,blue'), ['a10', 'b1'])
  assert.deepEqual(await names('?status=SHUTOFF'), [])
  assert.deepEqual(await names('?status=active&flavor=6&limit=1'), ['a10'])
  const since = new Date(Date.now() - 60_000).toISOString()
  await rig.call('DELETE', `/servers/${ids[2]}`)
  await rig.until('b1 gone', async () => !(await names('')).includes('b1'))
  assert.ok((await names(`?changes-since=${since}`)).includes('b1'), 'deleted ones are changes')
  assert.deepEqual(await names('?deleted=true', 'admin'), ['b1'])
  assert.equal((await rig.call('GET', '/servers?status=deleted')).status, 403)
  assert.deepEqual(await names('?all_tenants=1&project_id=none', 'admin'), [])
})

test('a locked server is its owner’s or the administrator’s to unlock', async () => {
  const id = await rig.boot()
  const act = (body: object, as = 'member') => rig.call('POST', `/servers/${id}/action`, { body, as })
  assert.equal((await act({ lock: { locked_reason: 'precious' } })).status, 202)
  const shown = await show(id)
  assert.deepEqual([shown.locked, shown.locked_reason], [true, 'precious'])
  const refused = await act({ 'os-stop': null })
  assert.equal(refused.status, 409)
  assert.equal(refused.body.conflictingRequest.message, `Instance ${id} is locked`)
  assert.equal((await rig.call('DELETE', `/servers/${id}`)).status, 409)
  assert.equal((await act({ unlock: null })).status, 202)
  assert.equal((await act({ 'os-stop': null })).status, 202)
  await rig.settle(id, 'SHUTOFF')
  const image = await act({ createImage: { name: 'i' } })
  assert.equal(image.status, 501)
  assert.match(image.body.notImplemented.message, /cannot be made of servers yet/)
  assert.equal((await act({ dance: null })).status, 400)
  assert.equal((await act({ 'os-stop': null, 'os-start': null })).status, 400)
})

test('a server starts from a volume larger than the disk of its flavor', async () => {
  const made = await rig.call('POST', '/servers', {
    body: {
      server: {
        name: 's',
        flavorRef: '6',
        networks: 'none',
        imageRef: '',
        block_device_mapping_v2: [
          {
            source_type: 'image',
            destination_type: 'volume',
            uuid: diskImage,
            volume_size: 2,
            boot_index: 0,
          },
        ],
      },
    },
  })
  assert.equal(made.status, 202, JSON.stringify(made.body))
  assert.equal((await rig.settle(made.body.server.id, 'ACTIVE'))?.['status'], 'ACTIVE')
})
