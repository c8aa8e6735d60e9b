import assert from 'node:assert/strict'
import { test } from 'node:test'
import { aggregateContents } from '../db/repositories/aggregate-contents.ts'
import { gib, type FlexVol } from '../domain/volume.ts'
import { makeVolume, openWorld } from '../testing/world.ts'
import { createPoolSpaces } from './space.ts'

async function open(t: { after(end: () => unknown): void }) {
  const world = await openWorld()
  t.after(() => world.db.destroy())
  const asked: string[] = []
  const used = new Map<string, number>()
  const backend = {
    async spaceAt({ node, aggregate }: { node: string; aggregate: string }) {
      asked.push(`${node}/${aggregate}`)
      if (node === 'away') throw new Error('it is away')
      return { totalBytes: 100 * gib, usedBytes: 40 * gib, freeBytes: 60 * gib }
    },
    async usageAt(_: FlexVol, { aggregate }: { aggregate: string }) {
      const uniqueBytes = used.get(aggregate) ?? 0
      return { images: 0, allocatedBytes: uniqueBytes, uniqueBytes }
    },
  }
  const { copies } = world.records
  const spaces = createPoolSpaces({ backend, contents: aggregateContents(world.db), copies })
  const of = async (flexvol: FlexVol) => (await spaces([flexvol], 'now')).get(flexvol.id)
  return { world, asked, used, spaces, of }
}

test('what is free is free on the aggregate: whoever holds something back there, it is taken off', async (t) => {
  const { world, of } = await open(t)
  const { flexvols, copies } = world.records
  const at = { node: world.lma.node, aggregate: world.lma.aggregate }
  assert.equal((await of(world.lma))?.freeBytes, 60 * gib)

  const own = await makeVolume(world, world.lma, { attached: false })
  await copies.update(own.imageId as string, { reservedBytes: 3 * gib })
  assert.equal((await of(world.lma))?.freeBytes, 57 * gib, 'its own copy')

  const neighbour = { ...world.lma, id: crypto.randomUUID(), name: 'other', lif: '127.0.0.9' }
  await flexvols.create(neighbour)
  assert.equal((await of(neighbour))?.freeBytes, 57 * gib, 'that of another FlexVol there')
  await flexvols.update(neighbour.id, { moveReservedBytes: 5 * gib })
  assert.equal((await of(world.lma))?.freeBytes, 57 * gib, 'nothing moves')
  await flexvols.update(neighbour.id, { destination: { ...at, aggregate: 'aggr2' } })
  assert.equal((await of(world.lma))?.freeBytes, 57 * gib, 'what it holds back is elsewhere')
  assert.equal((await of({ ...world.lma, aggregate: 'aggr2' }))?.freeBytes, 55 * gib)

  const moving = { ...world.lma, destination: { ...at, aggregate: 'aggr2' } }
  assert.equal((await of(moving))?.freeBytes, 55 * gib, 'new images are made at the destination')
  await copies.update(own.imageId as string, { reservedBytes: 99 * gib })
  assert.equal((await of(world.lma))?.freeBytes, 0)
})

test("a FlexVol's own size is a limit, which a move does not use up twice", async (t) => {
  const { world, used, of } = await open(t)
  const limited = { ...world.lma, sizeBytes: 10 * gib }
  used.set('aggr1', 6 * gib)
  assert.deepEqual(await of(limited), { totalBytes: 10 * gib, freeBytes: 4 * gib })
  const moving = { ...limited, destination: { node: world.lma.node, aggregate: 'aggr2' } }
  used.set('aggr2', 5 * gib)
  assert.equal((await of(moving))?.freeBytes, 4 * gib)
  const volume = await makeVolume(world, world.lma, { attached: false })
  await world.records.copies.update(volume.imageId as string, { reservedBytes: gib })
  assert.equal((await of(limited))?.freeBytes, 3 * gib)
  assert.deepEqual(await of({ ...limited, sizeBytes: 500 * gib }), {
    totalBytes: 100 * gib,
    freeBytes: 59 * gib,
  })
  assert.equal((await of({ ...limited, sizeBytes: gib }))?.freeBytes, 0)
})

test('FlexVols of one aggregate are told by one answer of its node, and a recent one is used again', async (t) => {
  const { world, asked, spaces } = await open(t)
  const neighbour = { ...world.lma, id: 'neighbour' }
  await spaces([world.lma, neighbour, world.lmb], 'now')
  const both = ['lma-01/aggr1', 'lmb-01/aggr1']
  assert.deepEqual(asked, both)
  await spaces([neighbour, world.lma], 'recent')
  assert.deepEqual(asked, both)
  await spaces([neighbour], 'now')
  assert.deepEqual(asked, [...both, 'lma-01/aggr1'])
})

test('a node that is away makes a pool without space, with the reason, and is asked again', async (t) => {
  const { world, asked, spaces } = await open(t)
  const away = { ...world.lma, node: 'away' }
  const expected = { totalBytes: 0, freeBytes: 0, down: 'it is away' }
  assert.deepEqual((await spaces([away], 'recent')).get(away.id), expected)
  assert.deepEqual((await spaces([away], 'recent')).get(away.id), expected)
  assert.equal(asked.length, 2)
})
