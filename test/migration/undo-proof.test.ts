import assert from 'node:assert/strict'
import { open } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { migrated, statusIs, undone } from './moves.ts'
import { configOf, openNetwork, type Network } from './network.ts'
import { acknowledged, openPlane, until, type Plane } from './plane.ts'

interface Named {
  id: string
  name: string
}

describe('whether nobody has written since is not told by the operations of a volume alone', () => {
  let plane: Plane

  before(async () => {
    plane = await openPlane()
  })
  after(() => plane.close())

  test('a server that was created with the volume and deleted leaves no operation of the volume, and is noticed', async () => {
    const { client } = plane
    const { id: volumeId } = await client.volume.create({ name: 'boot', size: 1 })
    await statusIs(plane, volumeId, 'available')
    const id = await migrated(plane, { serverId: '', volumeId })
    assert.equal((await client.ndo.planUndo(id)).method, 'revert')

    const { flavors } = (await client.session.json('GET', '/compute/v2.1/flavors')) as { flavors: Named[] }
    const image = (await client.image.named('volant-probe')).id
    const answer = await client.session.json('POST', '/compute/v2.1/servers', {
      headers: { 'openstack-api-version': 'compute 2.92' },
      body: {
        server: {
          name: 'second',
          flavorRef: flavors.find(({ name }) => name === 'm1.tiny')?.id,
          imageRef: image,
          networks: 'none',
          block_device_mapping_v2: [
            { boot_index: 0, uuid: image, source_type: 'image', destination_type: 'local' },
            { boot_index: -1, uuid: volumeId, source_type: 'volume', destination_type: 'volume' },
          ],
        },
      },
    })
    const { server } = answer as { server: Named }
    await until('the probe writes to it', 90_000, async () => {
      return (await acknowledged(plane, { serverId: server.id, volumeId }).catch(() => 0)) > 100
    })
    await client.compute.remove(server.id)
    await statusIs(plane, volumeId, 'available')

    const { operations } = await client.ndo.operations({ resource: volumeId })
    assert.equal(operations[0]?.id, id, 'no operation of the volume tells of it')
    const plan = await client.ndo.planUndo(id)
    assert.deepEqual([plan.ok, plan.method], [true, 'migrate'])
    const gaps = plan.proof.filter((part) => !part.ok).map((part) => part.name)
    assert.deepEqual(gaps, ['record-untouched', 'target-unwritten'])
    await undone(plane, id, 'migrate')
  })
})

describe('undo between storage nodes on machines of their own', () => {
  let network: Network
  let plane: Plane

  before(async () => {
    network = openNetwork()
    plane = await openPlane(configOf(network))
  })
  after(async () => {
    await plane?.close()
    network.close()
  })

  test('the end of movers and export daemons leaves the files as they were noted; one write by hand is found', async () => {
    const { id: volumeId } = await plane.client.volume.create({ name: 'data', size: 1 })
    await statusIs(plane, volumeId, 'available')
    const write = async (): Promise<void> => {
      const { path } = await plane.client.ndo.placement(volumeId)
      const file = await open(path as string, 'r+')
      await file.write(Buffer.alloc(1024 * 1024, 7), 0, 1024 * 1024, 0)
      await file.close()
    }
    await write()
    const job = { serverId: '', volumeId }
    const undo = await undone(plane, await migrated(plane, job), 'revert')
    const redo = await undone(plane, undo, 'revert')
    await write()
    const plan = await plane.client.ndo.planUndo(redo)
    assert.deepEqual(
      plan.proof.filter((part) => !part.ok).map((part) => part.name),
      ['target-unwritten'],
    )
    await undone(plane, redo, 'migrate')
  })
})
