import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { simulatedItem } from '@volant/agent/simulated/inventory.ts'
import { DomainError } from '@volant/contract'
import type { SweepReport } from '@volant/contract/ndo/sweep.ts'
import { endedStates, type RunState } from '@volant/saga'
import pino from 'pino'
import { exportIdOf } from '../backends/aggregates.ts'
import { sweepRecords } from '../db/repositories/sweep.ts'
import type { Copy, Volume } from '../domain/volume.ts'
import { ensureHead } from '../operations/head.ts'
import { systemClock } from '../ports/clock.ts'
import { assertNoLitter } from '../testing/invariants.ts'
import { makeShare, sharePorts } from '../testing/shares.ts'
import { attachmentOf, makeVolume, openWorld, type World } from '../testing/world.ts'
import { createSweep, type SweepPorts } from './sweep.ts'

const apart = { lma: 'store-a', lmb: 'store-b', compute: 'compute' }
const caller = { fence: 1 }

async function open(t: TestContext, machines = apart) {
  const world = await openWorld(machines)
  t.after(() => world.db.destroy())
  const ports: SweepPorts = {
    ...world,
    ...world.records,
    owners: sweepRecords(world.db),
    clock: systemClock,
    log: pino({ level: 'silent' }),
  }
  const sweepWith = (change: Partial<SweepPorts> = {}, fence = 1) =>
    createSweep({ ...ports, ...change }, { fence }, { graceSeconds: 30, historySeconds: 3600 })
  return { world, ports, sweepWith, sweep: sweepWith() }
}

/** An operation as the database has it. */
async function addOperation(
  world: World,
  { id = crypto.randomUUID(), kind = 'volume.migrate', state, keys = [], input = {} }: Operation,
): Promise<string> {
  const at = '2026-11-22T10:00:00.000Z'
  const ended = (endedStates as readonly string[]).includes(state)
  await world.db
    .insertInto('operations')
    .values({
      ...{
        id,
        kind,
        version: 1,
        steps: '[]',
        keys: JSON.stringify(keys),
        input: JSON.stringify(input),
        state,
      },
      ...{
        step: null,
        cancellable: 0,
        failure: null,
        progress: null,
        paused: 0,
        cancel_requested: 0,
        rate: null,
      },
      ...{ control_revision: 0, owner: 'x', fence: 1, created_at: at, updated_at: at },
      ended_at: ended ? at : null,
    })
    .execute()
  return id
}
interface Operation {
  id?: string
  kind?: string
  state: RunState
  keys?: string[]
  input?: unknown
}

/** A volume with its head; on other machines with an export, too. */
async function attached(world: World): Promise<Volume> {
  const volume = await makeVolume(world, world.lma, { attached: true })
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  assert.ok(attachment)
  await ensureHead(world.ports, { fence: 0 }, attachment)
  return volume
}

/** The image of a copy that an operation made as its target; the row is given up, the file is still there. */
async function givenUpTarget(world: World, volume: Volume, operationId: string): Promise<Copy> {
  const copy: Copy = {
    imageId: crypto.randomUUID(),
    volumeId: volume.id,
    snapshotId: null,
    flexvolId: world.lmb.id,
    node: world.lmb.node,
    aggregate: world.lmb.aggregate,
    sizeBytes: 4096,
    state: 'target',
    operationId,
    reservedBytes: 4096,
    retainedUntil: null,
    createdAt: '2026-11-22T10:00:00.000Z',
  }
  await world.records.copies.create(copy)
  await world.backend.ensureImage({ fence: 0 }, copy)
  await world.records.copies.remove(copy.imageId)
  return copy
}

const told = (report: SweepReport): string[] =>
  report.strays.map(({ kind, action }) => `${kind} ${action}`).toSorted()

/** A world with a stray of each kind, and what must stay. */
async function plant(world: World) {
  const volume = await attached(world)
  const holdersAt = (machine: string) => {
    const agent = world.holders.get(machine)
    assert.ok(agent)
    return agent
  }
  const node = world.nodes.get('lmb-01')
  const host = world.hosts.get('compute-1')
  assert.ok(node && host)
  const operationId = await addOperation(world, { state: 'cancelled', keys: [`volume/${volume.id}`] })
  const target = await givenUpTarget(world, volume, operationId)
  const access = await world.backend.openFor({ fence: 0 }, target, 'store-b', operationId)
  await holdersAt('store-b').ensureHolder(
    { fence: 0 },
    { holderId: operationId, volumeId: volume.id, image: access, serves: false },
  )
  const gone = attachmentOf(volume)
  await world.records.attachments.create(gone)
  await world.backend.openFor({ fence: 0 }, target, 'compute', gone.id)
  await world.records.attachments.remove(gone.id)
  const foreign = crypto.randomUUID()
  const place = { aggregate: 'aggr1', flexvol: world.lmb.name }
  await node.ensureImage({ fence: 0 }, { imageId: foreign, ...place }, 4096)
  for (const item of [
    simulatedItem({ kind: 'file', id: '/a/notes.txt' }),
    simulatedItem({ kind: 'process', id: '4711', pids: [4711] }),
    simulatedItem({ kind: 'remains', id: `export ${gone.id}.${target.imageId}` }),
    simulatedItem({ kind: 'image-part', id: '/a/x.gone', imageId: target.imageId, isBeingRemoved: true }),
  ]) {
    node.planted.set(item.id, item)
  }
  await host.ensureGuest(
    { fence: 0 },
    { serverId: 'nobody', name: 'x', vcpus: 1, memoryMiB: 1, disks: [], nics: [] },
  )
  const reserved = { ...target, imageId: crypto.randomUUID() }
  await world.records.copies.create(reserved)
  return { volume, operationId, target, gone, foreign, reserved, node, host, holdersAt }
}

describe('the sweep', () => {
  for (const machines of [apart, { lma: 'm1', lmb: 'm1', compute: 'm1' }]) {
    test(`finds nothing where nothing is left over (${machines.compute})`, async (t) => {
      const { world, sweep } = await open(t, machines)
      await attached(world)
      await makeVolume(world, world.lmb, { attached: false })
      const report = await sweep.run()
      assert.deepEqual(report.strays, [])
      assert.equal(report.owned, report.examined)
      assert.ok(report.examined >= 3)
      assert.equal(sweep.last(), report)
    })
  }

  test('removes what is proved, tells of the rest, and touches nothing that has an owner', async (t) => {
    const { world, sweep } = await open(t)
    const { volume, target, foreign, reserved, node, host, holdersAt } = await plant(world)
    const source = world.nodes.get('lma-01')
    const [attachment] = await world.records.attachments.ofVolume(volume.id)
    assert.ok(source && attachment)
    const head = { ...holdersAt('compute').holders.get(attachment.id) }
    const dry = await sweep.run({ dryRun: true })
    assert.equal(node.images.size, 2, 'a dry run removes nothing')
    const report = await sweep.run()
    const expected = [
      ...['export', 'holder', 'image', 'image-part', 'remains', 'reservation'].map(
        (kind) => `${kind} removed`,
      ),
      ...['file', 'guest', 'image', 'process'].map((kind) => `${kind} reported`),
    ]
    assert.deepEqual(told(report), expected.toSorted())
    const would = expected.map((line) => line.replace(' removed', ' would be removed'))
    assert.deepEqual(told(dry), would.toSorted())
    assert.deepEqual([...node.images.keys()], [foreign])
    assert.deepEqual([...node.exports.keys()], [])
    assert.equal(holdersAt('store-b').holders.size, 0)
    assert.equal(await world.records.copies.find(reserved.imageId), undefined)
    assert.equal((await host.guestStatus('nobody')).state, 'running')
    // What is owned is as it was.
    assert.deepEqual(holdersAt('compute').holders.get(attachment.id), head)
    assert.deepEqual([...source.images.keys()], [volume.imageId])
    assert.deepEqual(
      [...source.exports.keys()],
      [exportIdOf({ imageId: String(volume.imageId) }, attachment.id)],
    )
    assert.ok(report.strays.every(({ advice, action }) => action !== 'reported' || advice))
    assert.ok(report.strays.every(({ proof, action }) => action === 'reported' || proof))
    const again = await sweep.run()
    assert.deepEqual(
      told(again),
      ['file', 'guest', 'image', 'process'].map((kind) => `${kind} reported`),
    )
    assert.notEqual(target.imageId, foreign)
  })

  test('an operation that has not ended keeps all that it may own', async (t) => {
    const { world, sweep } = await open(t)
    const { volume, node } = await plant(world)
    const state = 'needs-attention' as const
    await addOperation(world, { state, keys: [`volume/${volume.id}`] })
    const report = await sweep.run()
    const kinds = ['file', 'guest', 'image', 'process', 'remains']
    // The remains are known by a digest alone, which no operation names; the image is the foreign one.
    assert.deepEqual(
      told(report),
      kinds.map((kind) => `${kind} ${kind === 'remains' ? 'removed' : 'reported'}`),
    )
    assert.equal(node.images.size, 2)
  })

  test('what is made while it looks is no stray, and neither is what is removed', async (t) => {
    const { world, ports, sweepWith } = await open(t)
    const volume = await makeVolume(world, world.lma, { attached: false })
    const doomed = await makeVolume(world, world.lmb, { attached: false })
    const node = world.nodes.get('lma-01')
    assert.ok(node)
    const { owners } = ports
    const racing = sweepWith({
      owners: {
        ...owners,
        // After the inventories, before the records.
        async targets() {
          await makeVolume(world, world.lma, { attached: false })
          const [copy] = await world.records.copies.ofVolume(doomed.id)
          assert.ok(copy)
          await world.backend.ensureNoImage({ fence: 0 }, copy)
          await world.records.copies.remove(copy.imageId)
          return owners.targets()
        },
      },
    })
    const report = await racing.run()
    assert.equal(report.examined, 2, 'the new one was not seen')
    assert.deepEqual(report.strays, [])
    assert.deepEqual(await sweepWith().run().then(told), [])
    assert.equal(node.images.has(String(volume.imageId)), true)
  })

  test('a look without a grace time tells of what is young, too, and is no measure of what is left', async (t) => {
    const { world, sweep } = await open(t)
    const { node } = await plant(world)
    for (const item of node.planted.values()) node.planted.set(item.id, { ...item, ageSeconds: 5 })
    await sweep.run({ dryRun: true })
    const usual = sweep.last()
    const kinds = (report: SweepReport | undefined) => report?.strays.map(({ kind }) => kind) ?? []
    assert.equal(kinds(usual).includes('file'), false)
    const look = await sweep.run({ dryRun: true, graceSeconds: 0 })
    assert.equal(kinds(look).includes('file'), true)
    assert.equal(sweep.last(), usual)
  })

  test('a place that does not answer is named, and the others are swept', async (t) => {
    const { world, sweep } = await open(t)
    const { node, holdersAt } = await plant(world)
    node.failNext('inventory', new DomainError('unavailable', 'The node is away.'))
    const report = await sweep.run()
    assert.deepEqual(report.unreachable, [{ place: 'storage node lmb-01', reason: 'The node is away.' }])
    assert.equal(holdersAt('store-b').holders.size, 0)
    assert.equal(node.images.size, 2, 'what was not seen was not judged')
    assert.deepEqual(node.pendingFaults, [])
  })

  test('a removal that fails is told, and tried again by the next pass', async (t) => {
    const { world, sweep } = await open(t)
    const { node } = await plant(world)
    node.failNext('removeStray', new DomainError('conflict', 'It is in use.'))
    const report = await sweep.run()
    const failed = report.strays.filter(({ action }) => action === 'failed')
    // While the export is there, its image can't go either.
    assert.deepEqual(
      failed.map(({ kind }) => kind),
      ['export', 'image'],
    )
    assert.ok(failed.every(({ advice }) => /in use.*tried again/.test(advice ?? '')))
    assert.deepEqual(node.pendingFaults, [])
    const again = await sweep.run()
    assert.equal(again.strays.filter(({ action }) => action === 'removed').length, 2)
  })

  test('a control plane that was replaced removes nothing', async (t) => {
    const { world, sweepWith } = await open(t)
    const { node, holdersAt } = await plant(world)
    for (const agent of [...world.nodes.values(), ...world.holders.values()]) {
      await agent.removeStray({ fence: 7 }, simulatedItem({ kind: 'remains', id: 'nothing' }))
    }
    const report = await sweepWith({}, 6).run()
    const held = report.strays.filter(({ kind, action }) => kind !== 'reservation' && action === 'removed')
    assert.deepEqual(held, [])
    assert.equal(node.images.size, 2)
    assert.equal(holdersAt('store-b').holders.size, 1)
  })

  test('what is another one by then is left alone', async (t) => {
    const { world, sweep } = await open(t)
    const { operationId, holdersAt } = await plant(world)
    const agent = holdersAt('store-b')
    const seen = (await agent.inventory()).find(({ kind }) => kind === 'holder')
    const mover = agent.holders.get(operationId)
    assert.ok(seen && mover)
    mover.pid += 1
    await assert.rejects(agent.removeStray(caller, seen), /not what was seen any more/)
    assert.equal(agent.holders.size, 1)
    await sweep.run()
    assert.equal(agent.holders.size, 0)
  })

  test('is what says in the tests of operations that nothing is left over', async (t) => {
    const { world } = await open(t)
    await attached(world)
    await assertNoLitter(world)
    await plant(world)
    await assert.rejects(assertNoLitter(world), /the sweep finds no strays[^]*no record knows its UUID/)
  })

  test('two passes at once come one after the other', async (t) => {
    const { world, sweep } = await open(t)
    await plant(world)
    const [first, second] = await Promise.all([sweep.run(), sweep.run()])
    assert.ok(first.finished_at <= second.started_at)
    assert.ok(first.strays.some(({ action }) => action === 'removed'))
    assert.ok(second.strays.every(({ action }) => action === 'reported'))
  })

  test('tombstones go with the history of operations', async (t) => {
    const { world, sweep } = await open(t)
    const { target } = await plant(world)
    const old = '2000-01-01T00:00:00.000Z'
    await world.db
      .updateTable('tombstones')
      .set({ removed_at: old })
      .where('kind', '=', 'attachment')
      .execute()
    await sweep.run()
    const left = await world.db.selectFrom('tombstones').select(['kind', 'id']).execute()
    assert.ok(left.some(({ id }) => id === target.imageId))
    assert.ok(left.every(({ kind }) => kind === 'copy'))
  })

  test('a share that is there keeps its chain; what is left of one that was deleted goes, the unknown stays', async (t) => {
    const { world, sweepWith } = await open(t)
    const ports = sharePorts(world)
    const [kept, gone] = [await makeShare(ports), await makeShare(ports)]
    const node = world.agents.shares('lma-01')
    const sweep = sweepWith({ topology: ports.topology }, 2)
    assert.deepEqual(told(await sweep.run()), [])
    node.planted.set('unknown', simulatedItem({ kind: 'file-system', id: 'unknown', shareId: 'unknown' }))
    node.planted.set('svm_x', simulatedItem({ kind: 'nfs-server', id: 'svm_x' }))
    // As if its file system had come back: a deletion that met a machine from a snapshot of yesterday.
    await world.db.updateTable('attachments').set({ host: null }).where('share_id', '=', gone.id).execute()
    await ports.shares.remove(gone.id)
    await ports.shares.remove(gone.id)
    const report = await sweep.run()
    const strays = report.strays.filter(({ place }) => place.startsWith('shares of node'))
    assert.deepEqual(
      strays.map(({ kind, id, action }) => [kind, id, action]).toSorted(),
      [
        ['file-system', gone.id, 'removed'],
        ['file-system', 'unknown', 'reported'],
        ['nfs-server', 'svm_x', 'reported'],
      ].toSorted(),
    )
    assert.match(strays.find(({ id }) => id === gone.id)?.proof ?? '', /was removed on/)
    assert.deepEqual(
      (await node.listShares()).map(({ shareId }) => shareId),
      [kept.id],
    )
  })
})
