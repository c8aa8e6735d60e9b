import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import { isAt } from '../domain/move-order.ts'
import { movePorts, partsEngine } from '../testing/flexvol-moves.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { makeSnapshot } from '../testing/snapshots.ts'
import { makeVolume, openWorld, type Machines } from '../testing/world.ts'
import { ensureHead } from './head.ts'
import { moveFlexVol, type MoveFlexVolInput, type MoveFlexVolPorts } from './move-flexvol.ts'

const here: Machines = { lma: 'm1', lmb: 'm1', compute: 'm1' }
const apart: Machines = { lma: 'store-a', lma2: 'store-a2', lmb: 'store-b', compute: 'compute' }
const from = { node: 'lma-01', aggregate: 'aggr1' }

for (const [machines, to] of [
  [here, { node: 'lma-01', aggregate: 'aggr2' }],
  [apart, { node: 'lma-02', aggregate: 'aggr3' }],
] as const) {
  everyStep<MoveFlexVolInput, MoveFlexVolPorts>(moveFlexVol, {
    fresh: async () => {
      const world = await openWorld(machines)
      const attached = await makeVolume(world, world.lma, { attached: true })
      const [attachment] = await world.records.attachments.ofVolume(attached.id)
      if (attachment !== undefined) await ensureHead(world.ports, { fence: 0 }, attachment)
      const detached = await makeVolume(world, world.lma, { attached: false })
      const snapshots = [await makeSnapshot(world, attached), await makeSnapshot(world, attached)]
      // The parts have an engine of their own, which no fault strikes: what they do is tested at each of their steps.
      let parts = partsEngine(world)
      await parts.executor.begin()
      const input: MoveFlexVolInput = {
        flexvolId: world.lma.id,
        from,
        to,
        shares: to.node === from.node,
        estimateBytes: 4096,
        cutoverWindowSeconds: 30,
        cutoverAction: 'retry_on_failure',
        retentionSeconds: 600,
      }
      return {
        input,
        ports: movePorts(world, parts.engine),
        // Both die together, as one process: the agents know one control plane, by its fence.
        restarted: async () => {
          parts.executor.abandon()
          parts = partsEngine(world)
          await parts.executor.begin()
          return movePorts(world, parts.engine)
        },
        invariants: async ({ run, fault }: Result) => {
          const moved = run.state === 'succeeded'
          const home = moved ? to : from
          const flexvol = await world.records.flexvols.get(world.lma.id)
          assert.ok(isAt(flexvol, home), `it is at ${flexvol.node}/${flexvol.aggregate}`)
          assert.equal(flexvol.destination, null)
          assert.equal(flexvol.moveReservedBytes, 0)
          const ends: Record<string, string> = {
            succeeded: 'succeeded',
            failed: 'failed',
            cancelled: 'aborted',
          }
          const move = await world.records.moves.find(run.id)
          const neverBegan = fault.name.startsWith('begin: fails before')
          assert.deepEqual(
            [move?.state, move?.endedAt !== null],
            [neverBegan ? undefined : ends[run.state], true],
          )
          const copies = await world.records.copies.ofFlexVol(flexvol.id)
          for (const copy of copies.filter(({ state }) => state !== 'retained')) {
            assert.ok(copy.state === 'live' && isAt(copy, home), `${copy.imageId} is at home`)
          }
          const kept = copies.filter(({ state }) => state === 'retained')
          assert.equal(kept.length, moved ? 4 : 0, 'what the move left is kept for a time, or gone')
          for (const copy of kept) assert.ok((copy.retainedUntil ?? '') < '2100', 'but not for ever')
          const folder = (place: typeof from) =>
            world.nodes.get(place.node)?.flexvols.has(`${place.aggregate}/${flexvol.name}`)
          assert.deepEqual([folder(home), folder(moved ? from : to)], [true, moved])
          const truths = await Promise.all([
            ...[attached, detached].map(({ id }) => world.records.volumes.get(id)),
            ...snapshots.map(({ id }) => world.records.snapshots.get(id)),
          ])
          for (const { imageId } of truths) {
            assert.equal(copies.find((copy) => copy.imageId === imageId)?.state, 'live')
          }
          assert.deepEqual(
            (await parts.engine.partsOf(run.id)).filter(({ endedAt }) => endedAt === null),
            [],
            'no part is under way',
          )
          await assertWorldSound(world)
        },
        close: async () => {
          await parts.executor.stop()
          await world.db.destroy()
        },
      }
    },
  })
}
