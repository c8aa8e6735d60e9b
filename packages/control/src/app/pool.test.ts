import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { bind, Executor } from '@volant/saga'
import { operationStore } from '../db/repositories/operation.ts'
import { newFlexVol } from '../domain/volume.ts'
import { vacateAggregate } from '../operations/vacate-aggregate.ts'
import { blockStoragePorts } from '../testing/block-storage.ts'
import { standingVacatePorts } from '../testing/vacate.ts'
import { makeVolume, openWorld, type World } from '../testing/world.ts'

const mib = 2 ** 20

async function standstill(t: TestContext, world: World): Promise<Executor> {
  const executor = new Executor({
    store: operationStore(world.db),
    owner: 'test',
    operations: [bind(vacateAggregate, standingVacatePorts())],
  })
  await executor.begin()
  t.after(() => executor.stop())
  return executor
}

test('a pool whose aggregate is being emptied says so, until it moves', async (t) => {
  const world = await openWorld()
  const executor = await standstill(t, world)
  const vacates = async () =>
    (await blockStoragePorts(world).pools.recentCandidates()).map(({ vacatedBy }) => vacatedBy)
  assert.deepEqual(await vacates(), [undefined, undefined])
  const input = {
    cluster: 'cinder-lma',
    node: 'lma-01',
    whole: false,
    name: 'aggr1',
    aggregates: ['aggr1'],
    to: null,
  }
  const { id } = await executor.start(vacateAggregate, input)
  assert.deepEqual(await vacates(), [id, undefined])
  await world.records.flexvols.update(world.lma.id, { destination: { node: 'lma-01', aggregate: 'aggr2' } })
  assert.deepEqual(await vacates(), [undefined, undefined], 'its new images are made at the destination')
})

test('a FlexVol made at run time is a pool at once, after those of the configuration, with its own size', async () => {
  const world = await openWorld()
  const { pools } = blockStoragePorts(world)
  await pools.candidates()
  const made = newFlexVol(
    { ...world.lma, name: 'a_new_one', junctionPath: '/a_new_one', sizeBytes: 100 * mib },
    '2026-01-01T00:00:00.000Z',
  )
  await world.records.flexvols.create(made)
  await world.backend.ensureFlexVol({ fence: 0 }, made)
  await makeVolume(world, made, { attached: false })
  for (const image of world.nodes.get('lma-01')?.images.values() ?? []) image.allocatedBytes = 30 * mib
  for (const ask of [pools.candidates, pools.recentCandidates]) {
    const found = await ask()
    assert.deepEqual(
      found.map(({ pool }) => pool.split(':/')[1]),
      ['cinder_flexvol_OSTK02', 'cinder_flexvol_OSTK09', 'a_new_one'],
    )
    const last = found.at(-1)
    assert.deepEqual([last?.totalBytes, last?.freeBytes], [100 * mib, 70 * mib])
  }
  await world.records.flexvols.update(made.id, { sizeBytes: 40 * mib })
  const resized = (await pools.recentCandidates()).at(-1)
  assert.deepEqual([resized?.totalBytes, resized?.freeBytes], [40 * mib, 10 * mib])
  await world.db.destroy()
})

test('what a move holds back at its destination is free for nobody there', async () => {
  const world = await openWorld()
  const { pools } = blockStoragePorts(world)
  const there = newFlexVol(
    { ...world.lma, name: 'there', junctionPath: '/there', aggregate: 'aggr2' },
    '2026-01-01T00:00:00.000Z',
  )
  await world.records.flexvols.create(there)
  const freeOf = async () =>
    Object.fromEntries((await pools.candidates()).map(({ flexvol, freeBytes }) => [flexvol.name, freeBytes]))
  const before = await freeOf()
  const destination = { node: 'lma-01', aggregate: 'aggr2' }
  await world.records.flexvols.update(world.lma.id, { destination, moveReservedBytes: 5 * mib })
  const during = await freeOf()
  assert.equal(during['there'], (before['there'] ?? 0) - 5 * mib)
  assert.equal(during['cinder_flexvol_OSTK09'], before['cinder_flexvol_OSTK09'])
  await world.db.destroy()
})
