import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import { isAt } from '../domain/move-order.ts'
import { partsEngine } from '../testing/flexvol-moves.ts'
import { assertServed, makeShare, sharePorts, type SharePorts } from '../testing/shares.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { makeSnapshot } from '../testing/snapshots.ts'
import { openWorld, type Machines, type World } from '../testing/world.ts'
import { migrateShare, type MigrateShareInput, type MigrateSharePorts } from './migrate-share.ts'
import type { OperationEngine } from '../ports/operations.ts'

const here: Machines = { lma: 'm1', lmb: 'm1', compute: 'm1' }
const apart: Machines = { lma: 'store-a', lma2: 'store-a2', lmb: 'store-b', compute: 'compute' }
const from = { node: 'lma-01', aggregate: 'aggr1' }

/** Whoever migrates it completes the migration as soon as all is in sync. */
function completing(world: World, ports: SharePorts, engine: OperationEngine): MigrateSharePorts {
  const { shares } = ports
  return {
    ...ports,
    moves: world.records.moves,
    engine,
    shares: {
      ...shares,
      async updateIf(shareId, expected, fields) {
        const done = await shares.updateIf(shareId, expected, fields)
        if (!done || fields.taskState !== 'migration_driver_phase1_done') return done
        const { flexvolId } = await shares.get(shareId)
        const move = await world.records.moves.latestOf(flexvolId ?? '')
        assert.equal(move?.cutover, 'held')
        await world.records.moves.update(move.id, { cutover: 'triggered' })
        return done
      },
    },
  }
}

for (const [machines, to] of [
  [here, { node: 'lma-01', aggregate: 'aggr2' }],
  [apart, { node: 'lma-02', aggregate: 'aggr3' }],
] as const) {
  everyStep<MigrateShareInput, MigrateSharePorts>(
    migrateShare,
    {
      fresh: async () => {
        const world = await openWorld(machines)
        const ports = sharePorts(world)
        const share = await makeShare(ports)
        const volume = await world.records.volumes.get(share.volumeId ?? '')
        const snapshot = await makeSnapshot(world, volume, 1)
        const shareTypeId = crypto.randomUUID()
        await ports.shareTypes.create({
          id: shareTypeId,
          name: 'gold',
          description: null,
          isPublic: true,
          isDefault: false,
          extraSpecs: { snapshot_support: 'False' },
          createdAt: share.createdAt,
          updatedAt: null,
        })
        await ports.shares.update(share.id, { status: 'migrating', taskState: 'migration_starting' })
        let parts = partsEngine(world)
        await parts.executor.begin()
        const input: MigrateShareInput = {
          shareId: share.id,
          flexvolId: share.flexvolId ?? '',
          from,
          to,
          shareTypeId,
          projectId: 'p',
          requestId: 'req-1',
          move: {
            shares: to.node === from.node,
            estimateBytes: 4096,
            cutoverWindowSeconds: 30,
            retentionSeconds: 600,
          },
        }
        return {
          input,
          ports: completing(world, ports, parts.engine),
          // Both die together, as one process: the agents know one control plane, by its fence.
          restarted: async () => {
            parts.executor.abandon()
            parts = partsEngine(world)
            await parts.executor.begin()
            return completing(world, ports, parts.engine)
          },
          invariants: async ({ run }: Result) => {
            const [move] = await parts.engine.partsOf(run.id)
            assert.ok(move === undefined || move.endedAt !== null, 'no move is under way')
            const moved = move?.state === 'succeeded'
            if (run.state === 'succeeded') assert.ok(moved)
            const now = await ports.shares.get(share.id)
            const given = run.state === 'cancelled' ? 'migration_cancelled' : 'migration_error'
            assert.deepEqual(
              [now.status, now.taskState, now.shareTypeId, now.snapshotSupport],
              moved
                ? ['available', 'migration_success', shareTypeId, false]
                : ['available', given, share.shareTypeId, true],
            )
            const flexvol = await world.records.flexvols.get(input.flexvolId)
            assert.ok(isAt(flexvol, moved ? to : from), `it is at ${flexvol.node}/${flexvol.aggregate}`)
            assert.deepEqual([flexvol.destination, flexvol.moveReservedBytes], [null, 0])
            const image = await world.records.snapshots.get(snapshot.id)
            const copy = await world.records.copies.get(image.imageId ?? '')
            assert.ok(isAt(copy, moved ? to : from), 'its snapshot has gone along')
            await assertServed(world, ports, share.id, 2)
            await assertWorldSound(world)
          },
          close: async () => {
            await parts.executor.stop()
            await world.db.destroy()
          },
        }
      },
    },
    { timeoutMs: 60_000 },
  )
}
