import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { DomainError, isDomainError } from '@volant/contract'
import { createFlexVols } from './flexvol.ts'
import { createOntapCluster } from './ontap/cluster.ts'
import { openMoveRig, simulatedAggregates } from '../testing/flexvol-moves.ts'
import { assertServed, makeShare, sharePorts } from '../testing/shares.ts'
import { imageIn, makeSnapshot } from '../testing/snapshots.ts'
import { gatherVacate } from '../operations/vacate-facts.ts'

async function open(t: TestContext) {
  const rig = await openMoveRig()
  t.after(() => rig.close())
  const { world, engine, moves } = rig
  const ports = sharePorts(world)
  const share = await makeShare(ports)
  const volume = await world.records.volumes.get(share.volumeId ?? '')
  const snapshot = await makeSnapshot(world, volume, 1)
  Object.assign(imageIn(world, volume.imageId ?? '') ?? {}, { allocatedBytes: 4096 })
  const flexvolId = share.flexvolId ?? ''
  const aggregates = simulatedAggregates(world)
  const flexvols = createFlexVols({
    ...world.ports,
    topology: world.topology,
    aggregates: aggregates as never,
    engine,
  })
  const [cluster] = world.topology.clusters
  assert.ok(cluster)
  const ontap = createOntapCluster({
    ...world.ports,
    cluster,
    version: '1',
    moves,
    aggregates: aggregates as never,
    executor: rig.executor,
    usedBytes: (flexvol) => flexvols.usedBytes(flexvol),
  })
  return { ...rig, ports, share, snapshot, flexvolId, flexvols, ontap, aggregates }
}

const refused = (error: unknown): boolean =>
  isDomainError(error) && error.code === 'conflict' && /Shared File Systems API/.test(error.message)

test('the FlexVol of a share is not deleted, renamed or resized by itself; nothing changes', async (t) => {
  const { world, flexvols, flexvolId, ports, share } = await open(t)
  const before = await world.records.flexvols.get(flexvolId)
  await assert.rejects(flexvols.remove(flexvolId), refused)
  await assert.rejects(flexvols.rename(flexvolId, { name: 'other' }), refused)
  await assert.rejects(flexvols.rename(flexvolId, { junctionPath: '/other' }), refused)
  await assert.rejects(flexvols.resize(flexvolId, 2 ** 40), refused)
  await assert.rejects(flexvols.resize(flexvolId, null), refused)
  assert.deepEqual(await world.records.flexvols.get(flexvolId), before)
  await assertServed(world, ports, share.id, 2)
})

test('it moves as any other does, with its snapshots, and Manila’s record of migrations is left alone', async (t) => {
  const { world, moves, executor, flexvolId, ports, share, snapshot } = await open(t)
  const plan = await moves.plan({ flexvolId, aggregate: 'aggr2' })
  assert.deepEqual(
    plan.checks.filter(({ ok }) => !ok),
    [],
  )
  assert.deepEqual(plan.images, { volumes: 1, attached: 1, snapshots: 1 })
  assert.equal(plan.estimate?.bytes, 4096, 'reckoned by what is allocated, and not by the size of the image')
  const { operationId } = await moves.start({ flexvolId, aggregate: 'aggr2' })
  const run = await executor.ended(operationId)
  assert.equal(run.state, 'succeeded', run.failure?.message ?? '')
  assert.equal((await world.records.flexvols.get(flexvolId)).aggregate, 'aggr2')
  const { imageId } = await world.records.snapshots.get(snapshot.id)
  assert.equal((await world.records.copies.get(imageId ?? '')).aggregate, 'aggr2')
  const now = await ports.shares.get(share.id)
  assert.deepEqual([now.status, now.taskState], ['available', null])
  await assertServed(world, ports, share.id, 2)
})

test('where the node that serves it does not answer its move is refused', async (t) => {
  const { world, moves, flexvolId } = await open(t)
  world.agents.shares('lma-01').failNext('shareStatus', new DomainError('unavailable', 'The node is away.'))
  await assert.rejects(moves.start({ flexvolId, aggregate: 'aggr2' }), /lma-01 \(The node is away/)
})

test('ONTAP’s API shows it with its path, its size and its snapshots, and no files', async (t) => {
  const { ontap, flexvolId, share, snapshot } = await open(t)
  const query = { fields: ['**'], filters: [], orderBy: [] } as never
  const [record] = await ontap.volumes(query, flexvolId)
  const { nas, size } = record as unknown as { nas: { path: string }; size: number }
  assert.deepEqual([nas.path, size], [`/share_${share.id.replaceAll('-', '_')}`, 2 * 2 ** 30])
  const [found] = await ontap.snapshots(flexvolId)
  assert.equal(found?.['name'], `share_snapshot_${snapshot.id.replaceAll('-', '_')}`)
  assert.deepEqual(await ontap.files(flexvolId), [])
})

test('the emptying of its aggregate takes it along', async (t) => {
  const { world, moves, flexvolId, aggregates } = await open(t)
  const ports = { ...world.ports, moves, aggregates }
  const wish = { cluster: 'cinder-lma', aggregates: ['aggr1'], to: null }
  const facts = await gatherVacate(ports, wish)
  const own = facts.flexvols.find(({ id }) => id === flexvolId)
  assert.deepEqual([own?.blocked, own?.allocatedBytes], [null, 4096])
})
