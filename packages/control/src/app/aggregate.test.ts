import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { isDomainError } from '@volant/contract'
import { aggregateContents } from '../db/repositories/aggregate-contents.ts'
import { aggregateRecords } from '../db/repositories/aggregate.ts'
import { gib } from '../domain/volume.ts'
import type { OperationEngine } from '../ports/operations.ts'
import { makeVolume, openWorld } from '../testing/world.ts'
import { createAggregates } from './aggregate.ts'

const caller = { fence: 0 }
const refused = (code: string, message: RegExp) => (error: unknown) =>
  isDomainError(error) && error.code === code && message.test(error.message)

async function open(t: TestContext) {
  const world = await openWorld()
  t.after(() => world.db.destroy())
  const started: { kind: string; input: unknown }[] = []
  const engine: Pick<OperationEngine, 'start' | 'underWay' | 'holderOf'> = {
    async start({ kind }, input) {
      started.push({ kind, input })
      return { id: crypto.randomUUID() }
    },
    underWay: async () => [],
    holderOf: async () => undefined,
  }
  const records = aggregateRecords(world.db)
  const aggregates = createAggregates({
    ...world,
    flexvols: world.records.flexvols,
    records,
    contents: aggregateContents(world.db),
    vacating: async () => new Map([['cinder-lmb/aggr1', 'op-7']]),
    engine,
  })
  /** As `aggregate.create` makes it. */
  const make = async (name: string) => {
    const definition = { name, path: `/simulated/lma-01/${name}`, filesystem: 'xfs' as const, sizeBytes: gib }
    await world.agents.storage('lma-01').ensureAggregate(caller, definition)
    const at = { cluster: 'cinder-lma', node: 'lma-01', createdAt: '2026-11-22T10:00:00.000Z' }
    await records.create({ ...definition, ...at })
  }
  return { world, aggregates, records, started, make }
}

test('the list has those of the configuration and those made at run time, with what is there and held back', async (t) => {
  const { world, aggregates, make } = await open(t)
  await make('aggr7')
  const volume = await makeVolume(world, world.lma, { attached: false })
  const copy = await world.records.copies.get(volume.imageId as string)
  await world.records.copies.update(copy.imageId, { reservedBytes: 4096 })
  // Another FlexVol's copy there, and a FlexVol that moves there, hold back as well.
  const at = { node: 'lma-01', aggregate: 'aggr7' }
  await world.records.flexvols.update(world.lma.id, { destination: at, moveReservedBytes: gib / 2 })
  const retained = { ...copy, ...at, imageId: crypto.randomUUID(), reservedBytes: 8192 }
  const until = '2026-11-22T12:00:00.000Z'
  await world.records.copies.create({ ...retained, state: 'retained', retainedUntil: until })

  const [first, , second, ...others] = await aggregates.list()
  assert.deepEqual(
    others.map(({ cluster, name }) => [cluster, name]),
    [
      ['cinder-lmb', 'aggr1'],
      ['cinder-lmb', 'aggr2'],
    ],
  )
  assert.deepEqual(
    [first?.name, first?.configured, first?.state, first?.space?.reservedBytes],
    ['aggr1', true, 'online', 4096],
  )
  const { id, name } = world.lma
  assert.deepEqual(first?.flexvols, [{ id, name, role: 'home', images: 1, retained: 0, retainedUntil: null }])
  assert.deepEqual(second?.flexvols, [
    { id, name, role: 'destination', images: 0, retained: 1, retainedUntil: until },
  ])
  assert.deepEqual(
    [second?.filesystem, second?.configured, second?.path],
    ['xfs', false, '/simulated/lma-01/aggr7'],
  )
  const { space } = second ?? {}
  assert.equal(space?.reservedBytes, gib / 2 + 8192)
  assert.equal(space?.availableBytes, (space?.freeBytes ?? 0) - gib / 2 - 8192)
  assert.deepEqual(await aggregates.find('cinder-lma', 'aggr7'), second)
  assert.equal(await aggregates.find('cinder-lmb', 'aggr7'), undefined)
})

test('a node that is away, and an aggregate that its node lacks, are unavailable and stay in the list', async (t) => {
  const { world, aggregates, records, make } = await open(t)
  await make('aggr7')
  await world.agents.storage('lma-01').ensureNoAggregate(caller, 'aggr7')
  assert.deepEqual(
    (await aggregates.list())
      .filter(({ cluster, name }) => cluster === 'cinder-lma' && name !== 'aggr2')
      .map(({ name, state, space }) => [name, state, space === null]),
    [
      ['aggr1', 'online', false],
      ['aggr7', 'unavailable', true],
    ],
  )
  world.nodes.delete('lma-01')
  const [first] = await aggregates.list()
  assert.deepEqual([first?.state, first?.reflink, first?.space], ['unavailable', null, null])
  assert.match(first?.reason ?? '', /no agent 'lma-01'/)
  assert.equal((await records.list()).length, 1)
})

test('what can be made: beside the first aggregate, XFS where it has a size and the node can', async (t) => {
  const { aggregates, started } = await open(t)
  const cluster = 'cinder-lma'
  await aggregates.create({ cluster, name: 'aggr7' })
  await aggregates.create({ cluster, name: 'aggr7', sizeBytes: gib + 1 })
  await aggregates.create({ cluster, name: 'aggr7', sizeBytes: gib / 4 })
  await aggregates.create({ cluster, node: 'lma-01', name: 'aggr7', sizeBytes: gib, filesystem: 'folder' })
  const input = { cluster, node: 'lma-01', name: 'aggr7', path: '/simulated/lma-01/aggr7' }
  assert.deepEqual(
    started,
    [
      { ...input, filesystem: 'folder', sizeBytes: null },
      { ...input, filesystem: null, sizeBytes: gib + 4096 },
      { ...input, filesystem: 'folder', sizeBytes: gib / 4 },
      { ...input, filesystem: 'folder', sizeBytes: gib },
    ].map((one) => ({ kind: 'aggregate.create', input: one })),
  )
})

test('what can not be made is refused before anything begins', async (t) => {
  const { world, aggregates, started, make } = await open(t)
  await make('aggr7')
  const [cluster, name] = ['cinder-lma', 'aggr8']
  const create = aggregates.create
  await assert.rejects(
    create({ cluster: 'x', name }),
    refused('notFound', /no cluster x; there are cinder-lma/),
  )
  await assert.rejects(create({ cluster, name, node: 'lmb-01' }), refused('notFound', /it has lma-01/))
  for (const wrong of ['', '../x', 'a/b', '.a', 'a'.repeat(65)]) {
    await assert.rejects(create({ cluster, name: wrong }), refused('invalid', /no name for an aggregate/))
  }
  for (const taken of ['aggr1', 'aggr7']) {
    await assert.rejects(create({ cluster, name: taken }), refused('conflict', /has an aggregate/))
  }
  for (const sizeBytes of [0, -1, 1.5, gib / 32]) {
    await assert.rejects(create({ cluster, name, sizeBytes }), refused('invalid', /no size/))
  }
  await assert.rejects(create({ cluster, name, filesystem: 'xfs' }), refused('invalid', /needs a size/))
  const small = { cluster, name, filesystem: 'xfs', sizeBytes: gib / 4 } as const
  await assert.rejects(create(small), refused('invalid', /at least 512 MiB/))
  world.nodes.delete('lma-01')
  await assert.rejects(create({ cluster, name }), refused('unavailable', /no agent/))
  assert.deepEqual(started, [])
})

test('one in use is not removed: a FlexVol, one that moves there, an image, a retained one until when', async (t) => {
  const { world, aggregates, started, make } = await open(t)
  const { flexvols, copies } = world.records
  await make('aggr7')
  const remove = () => aggregates.remove('cinder-lma', 'aggr7')
  await assert.rejects(aggregates.remove('cinder-lma', 'aggr1'), refused('conflict', /volant\.yaml/))
  await assert.rejects(aggregates.remove('cinder-lma', 'x'), refused('notFound', /no aggregate x/))
  const at = { node: 'lma-01', aggregate: 'aggr7' }
  await flexvols.update(world.lma.id, { destination: at })
  await assert.rejects(remove(), refused('conflict', /OSTK02 is moving to it/))
  await flexvols.arrive(world.lma.id, at)
  await assert.rejects(remove(), refused('conflict', /OSTK02 is on it; move it/))
  await flexvols.arrive(world.lma.id, { node: 'lma-01', aggregate: 'aggr1' })
  const volume = await makeVolume(world, world.lma, { attached: false })
  const { imageId } = await copies.get(volume.imageId as string)
  await copies.update(imageId, at)
  await assert.rejects(remove(), refused('conflict', /1 images of FlexVol cinder_flexvol_OSTK02 are on it/))
  await copies.update(imageId, { state: 'retained', retainedUntil: '2026-11-22T12:00:00.000Z' })
  await assert.rejects(remove(), refused('conflict', /for an undo, until 2026-11-22T12/))
  assert.deepEqual(started, [])
  await copies.remove(imageId)
  await remove()
  const input = { cluster: 'cinder-lma', node: 'lma-01', name: 'aggr7' }
  assert.deepEqual(started, [{ kind: 'aggregate.delete', input }])
})
