import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { makeSnapshot } from '../../packages/control/src/testing/snapshots.ts'
import { diskImage, kernelImage, openComputeRig, probeImage, type ComputeRig } from './compute-rig.ts'

describe('servers', () => {
  let rig: ComputeRig
  before(async () => {
    rig = await openComputeRig()
  })
  after(() => rig.stop())

  test('a server boots with the kernel of its image, is shown, listed and deleted', async () => {
    const id = await rig.boot({ name: 'ubuntu-instance' })
    const { body } = await rig.call('GET', `/servers/${id}`, { as: 'admin' })
    assert.equal(body.server.status, 'ACTIVE')
    assert.equal(body.server['OS-EXT-STS:power_state'], 1)
    assert.equal(body.server['OS-EXT-SRV-ATTR:host'], 'compute-1')
    assert.equal(body.server.flavor.original_name, 'm1.tiny')
    assert.deepEqual(body.server['os-extended-volumes:volumes_attached'], [])
    const guest = rig.hosts.get('compute-1')
    assert.equal((await guest?.guestStatus(id))?.state, 'running')

    const listed = await rig.call('GET', '/servers/detail?name=ubuntu')
    assert.deepEqual(
      listed.body.servers.map((s: { id: string }) => s.id),
      [id],
    )

    assert.equal((await rig.call('DELETE', `/servers/${id}`)).status, 204)
    assert.equal(await rig.settle(id, 'DELETED'), undefined)
    assert.equal((await guest?.guestStatus(id))?.state, 'absent')
    const gone = await rig.call('GET', `/servers/${id}`)
    assert.equal(gone.status, 404)
    assert.deepEqual(gone.body, {
      itemNotFound: { code: 404, message: `Instance ${id} could not be found.` },
    })
  })

  test('power: stop, start, reboot, pause, and refusals in the wrong state', async () => {
    const id = await rig.boot()
    const act = (body: object) => rig.call('POST', `/servers/${id}/action`, { body })
    const refused = await act({ 'os-start': null })
    assert.equal(refused.status, 409)
    assert.equal(
      refused.body.conflictingRequest.message,
      `Cannot 'start' instance ${id} while it is in vm_state active`,
    )
    assert.equal((await act({ 'os-stop': null })).status, 202)
    await rig.settle(id, 'SHUTOFF')
    assert.equal((await act({ 'os-stop': null })).status, 409)
    assert.equal((await act({ 'os-start': null })).status, 202)
    await rig.settle(id, 'ACTIVE')
    assert.equal((await act({ reboot: { type: 'SOFT' } })).status, 202)
    await rig.settle(id, 'ACTIVE')
    assert.equal((await act({ reboot: { type: 'HARD' } })).status, 202)
    await rig.settle(id, 'ACTIVE')
    const agent = [...rig.hosts.values()].find((host) => host.rebootsOf(id) > 0)
    assert.equal(agent?.rebootsOf(id), 2)
    assert.equal((await act({ pause: null })).status, 202)
    await rig.settle(id, 'PAUSED')
    assert.equal((await act({ unpause: null })).status, 202)
    await rig.settle(id, 'ACTIVE')
    agent?.appendConsole(id, 'probe ready')
    const log = await act({ 'os-getConsoleOutput': { length: 10 } })
    assert.equal(log.body.output, 'probe ready\n')
    const actions = await rig.call('GET', `/servers/${id}/os-instance-actions`)
    assert.equal(actions.status, 200)
  })

  test('a volume is attached and detached, and its head is there as long', async () => {
    const id = await rig.boot()
    const heads = () => [...rig.world.holders.values()].flatMap((agent) => [...agent.holders.keys()])
    const before = heads()
    const volume = await rig.volume()
    const path = `/servers/${id}/os-volume_attachments`
    const attached = await rig.call('POST', path, { body: { volumeAttachment: { volumeId: volume } } })
    assert.equal(attached.status, 200)
    assert.equal(attached.body.volumeAttachment.device, '/dev/vdb')
    const statusOf = async () => (await rig.world.records.volumes.get(volume)).status
    await rig.until('in-use', async () => (await statusOf()) === 'in-use')
    const shown = await rig.call('GET', `/servers/${id}`)
    assert.deepEqual(shown.body.server['os-extended-volumes:volumes_attached'], [
      { id: volume, delete_on_termination: false },
    ])
    const [row] = (await rig.call('GET', path)).body.volumeAttachments
    assert.equal(row.volumeId, volume)
    const again = await rig.call('POST', path, { body: { volumeAttachment: { volumeId: volume } } })
    assert.equal(again.status, 400)
    assert.match(again.body.badRequest.message, /status must be 'available'. Currently in 'in-use'/)
    const swap = await rig.call('PUT', `${path}/${volume}`, {
      as: 'admin',
      body: { volumeAttachment: { volumeId: crypto.randomUUID() } },
    })
    assert.equal(swap.status, 409)
    assert.match(swap.body.conflictingRequest.message, /OSSN-0094/)
    assert.equal((await rig.call('DELETE', `${path}/${volume}`)).status, 202)
    await rig.until('available', async () => (await statusOf()) === 'available')
    assert.deepEqual((await rig.call('GET', path)).body.volumeAttachments, [])
    assert.deepEqual(heads(), before, "those of servers' root disks")
    await rig.until('actions end', async () => {
      const { body } = await rig.call('GET', `/servers/${id}/os-instance-actions`)
      const [detach] = body.instanceActions
      const one = await rig.call('GET', `/servers/${id}/os-instance-actions/${detach.request_id}`)
      return one.body.instanceAction.events[0].result === 'Success'
    })
  })

  test('a server starts from a snapshot in a new volume, which goes with it', async () => {
    const origin = await rig.volume({ size: 2 })
    await rig.world.records.volumes.update(origin, { bootable: true })
    const volume = await rig.world.records.volumes.get(origin)
    const snapshot = await makeSnapshot(rig.world, volume, 1)
    const server = (mapping: Record<string, unknown>) => ({
      name: 'bfs',
      flavorRef: '1',
      imageRef: '',
      networks: 'none',
      block_device_mapping_v2: [
        {
          uuid: snapshot.id,
          source_type: 'snapshot',
          destination_type: 'volume',
          boot_index: 0,
          delete_on_termination: true,
          ...mapping,
        },
      ],
    })
    const boot = (mapping: Record<string, unknown> = {}) =>
      rig.call('POST', '/servers', { body: { server: server(mapping) } })
    const unknown = await boot({ uuid: crypto.randomUUID() })
    assert.match(unknown.body.badRequest.message, /failed to get snapshot/)
    const small = await boot({ volume_size: 1 })
    assert.match(small.body.badRequest.message, /has 2 GiB, which is more than volume_size 1/)
    await rig.world.records.volumes.update(origin, { bootable: false })
    assert.match((await boot()).body.badRequest.message, /is not bootable/)
    await rig.world.records.volumes.update(origin, { bootable: true })

    const made = await boot()
    assert.equal(made.status, 202, JSON.stringify(made.body))
    const { id } = made.body.server
    assert.equal((await rig.settle(id, 'ACTIVE'))?.['status'], 'ACTIVE')
    const [root] = await rig.world.records.attachments.ofServer(id)
    const disk = await rig.world.records.volumes.get(root?.volumeId ?? '')
    assert.deepEqual([disk.snapshotId, disk.sizeGib, disk.bootable], [snapshot.id, 2, true])
    await rig.call('DELETE', `/servers/${id}`)
    await rig.settle(id, 'DELETED')
    await rig.until('root volume gone', async () => {
      return (await rig.world.records.volumes.find(disk.id)) === undefined
    })
    assert.equal((await rig.world.records.snapshots.get(snapshot.id)).status, 'available')
  })

  test('a server starts from an image in a new volume, which goes with it', async () => {
    const made = await rig.call('POST', '/servers', {
      body: {
        server: {
          name: 'bfv',
          flavorRef: '1',
          imageRef: '',
          networks: 'none',
          block_device_mapping_v2: [
            {
              uuid: diskImage,
              source_type: 'image',
              destination_type: 'volume',
              boot_index: 0,
              volume_size: 3,
              delete_on_termination: true,
            },
            { source_type: 'blank', destination_type: 'volume', boot_index: -1, volume_size: 1 },
          ],
        },
      },
    })
    assert.equal(made.status, 202, JSON.stringify(made.body))
    const { id } = made.body.server
    const server = await rig.settle(id, 'ACTIVE')
    assert.equal(server?.['status'], 'ACTIVE', JSON.stringify(server))
    assert.equal(server?.['image'], '')
    const attached = await rig.world.records.attachments.ofServer(id)
    assert.deepEqual(attached.map(({ mountpoint, status }) => [mountpoint, status]).sort(), [
      ['/dev/vda', 'attached'],
      ['/dev/vdb', 'attached'],
    ])
    const agent = rig.hosts.get(String(server?.['OS-EXT-SRV-ATTR:host']))
    assert.equal(agent?.disksOf(id)[0]?.boot, true)
    const root = attached.find(({ bootIndex }) => bootIndex === 0)?.volumeId ?? ''
    const data = attached.find(({ bootIndex }) => bootIndex !== 0)?.volumeId ?? ''
    const detach = await rig.call('DELETE', `/servers/${id}/os-volume_attachments/${root}`)
    assert.equal(detach.status, 400)
    await rig.call('DELETE', `/servers/${id}`)
    await rig.settle(id, 'DELETED')
    await rig.until('root volume gone', async () => {
      return (await rig.world.records.volumes.find(root)) === undefined
    })
    assert.equal((await rig.world.records.volumes.get(data)).status, 'available')
  })

  test('another project knows nothing of it, and images and flavors must be right', async () => {
    const id = await rig.boot()
    assert.equal((await rig.call('GET', `/servers/${id}`, { as: 'other' })).status, 404)
    assert.equal((await rig.call('DELETE', `/servers/${id}`, { as: 'other' })).status, 404)
    assert.equal((await rig.call('DELETE', `/servers/${id}`, { as: 'reader' })).status, 403)
    const all = await rig.call('GET', '/servers/detail?all_tenants=1')
    assert.equal(all.status, 403)
    assert.match(all.body.forbidden.message, /os_compute_api:servers:detail:get_all_tenants/)
    const good = { name: 'x', flavorRef: '1', imageRef: probeImage, networks: 'none' }
    const cases: [object, RegExp][] = [
      [{ ...good, flavorRef: '77' }, /Flavor 77 could not be found/],
      [{ ...good, imageRef: kernelImage }, /disk format is aki/],
      [{ ...good, imageRef: crypto.randomUUID() }, /Can not find requested image/],
      [{ ...good, imageRef: diskImage }, /Flavor's disk is too small/],
      [{ ...good, colour: 'red' }, /'colour' was unexpected/],
      [{ ...good, name: '' }, /attribute name/],
      [{ ...good, name: 'a\u0000b' }, /attribute name/],
      [{ ...good, min_count: 3, max_count: 2 }, /min_count must be <= max_count/],
      [{ ...good, key_name: 'nobody' }, /Invalid key_name/],
      [{ ...good, availability_zone: 'mars' }, /availability zone is not available/],
      [{ ...good, networks: [{ uuid: crypto.randomUUID() }] }, /no network service/],
    ]
    for (const [server, message] of cases) {
      const answer = await rig.call('POST', '/servers', { body: { server } })
      assert.equal(answer.status, 400, JSON.stringify(answer.body))
      assert.match(answer.body.badRequest.message, message)
    }
  })
})
