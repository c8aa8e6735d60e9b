import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test, type TestContext } from 'node:test'
import { until } from '@volant/contract/testing/until.ts'
import { bind, hasEnded } from '@volant/saga'
import type { ShareMigrationProgress } from '../domain/share-migration.ts'
import type { ShareTaskState } from '../domain/share.ts'
import type { OperationEngine } from '../ports/operations.ts'
import { partsEngine } from '../testing/flexvol-moves.ts'
import { assertServed, makeShare, ruleOf, shareAgentOf, sharePorts } from '../testing/shares.ts'
import { openWorld } from '../testing/world.ts'
import { applyShareAccess } from './apply-share-access.ts'
import { deleteShare } from './delete-share.ts'
import { extendShare } from './extend-share.ts'
import { migrateShare, type MigrateShareInput } from './migrate-share.ts'
import { moveFlexVol } from './move-flexvol.ts'

const here = { lma: 'm1', lmb: 'm1', compute: 'm1' }
const from = { node: 'lma-01', aggregate: 'aggr1' }
const to = { node: 'lma-01', aggregate: 'aggr2' }

/** A share whose migration copies until the test says that it is done. */
async function open(t: TestContext) {
  const world = await openWorld(here, { firstPhase: 'copying' })
  const base = sharePorts(world)
  const share = await makeShare(base)
  await base.shares.update(share.id, { status: 'migrating', taskState: 'migration_starting' })
  const ports = { ...base, moves: world.records.moves, engine: undefined as unknown as OperationEngine }
  const { executor, engine } = partsEngine(world, [
    bind(migrateShare, ports),
    bind(applyShareAccess, ports),
    bind(extendShare, ports),
    bind(deleteShare, ports),
  ])
  ports.engine = engine
  await executor.begin()
  t.after(async () => {
    await executor.stop()
    await world.db.destroy()
  })
  const input: MigrateShareInput = {
    shareId: share.id,
    flexvolId: share.flexvolId ?? '',
    from,
    to,
    shareTypeId: null,
    projectId: 'p',
    requestId: 'req-1',
    move: { shares: true, estimateBytes: 4096, cutoverWindowSeconds: 30, retentionSeconds: 600 },
  }
  const [attachment] = await world.records.attachments.ofVolume(share.volumeId ?? '')
  const holders = world.agents.holders('m1')
  const { id } = await engine.start(migrateShare, input)
  const taskState = async (wanted: ShareTaskState) =>
    until(`the task state is ${wanted}`, async () => (await base.shares.get(share.id)).taskState === wanted)
  return {
    world,
    base,
    share,
    engine,
    id,
    taskState,
    part: async () => (await engine.partsOf(id))[0],
    percent: async () => ((await engine.get(id)).progress as ShareMigrationProgress | null)?.percent,
    mirrored: () =>
      until(
        'the mirror is there',
        async () => holders.holders.get(attachment?.id ?? '')?.mirror !== undefined,
      ),
    /** All is copied. */
    inSync: () =>
      holders.setMirror(attachment?.id ?? '', { phase: 'ready', doneBytes: 4096, totalBytes: 4096 }),
    trigger: async () => {
      const move = await world.records.moves.latestOf(input.flexvolId)
      await world.records.moves.update(move?.id ?? '', { cutover: 'triggered' })
    },
    ended: async () => {
      await until('the migration ends', async () => hasEnded((await engine.get(id)).state))
      return engine.get(id)
    },
    status: async () => {
      const { status, taskState: state } = await base.shares.get(share.id)
      return [status, state]
    },
  }
}

test('it copies, waits in sync for its word, and only then cuts over; what it says of itself is true', async (t) => {
  const rig = await open(t)
  await rig.mirrored()
  await rig.taskState('migration_driver_in_progress')
  assert.ok(((await rig.percent()) ?? 0) < 100, 'nothing is said to be copied that is not')
  rig.inSync()
  await rig.taskState('migration_driver_phase1_done')
  await until('100 % are copied', async () => (await rig.percent()) === 100)
  await sleep(50)
  assert.equal(
    (await rig.world.records.flexvols.get(rig.share.flexvolId ?? '')).aggregate,
    'aggr1',
    'it waits',
  )
  await rig.trigger()
  assert.equal((await rig.ended()).state, 'succeeded')
  assert.deepEqual(await rig.status(), ['available', 'migration_success'])
  assert.equal((await rig.world.records.flexvols.get(rig.share.flexvolId ?? '')).aggregate, 'aggr2')
  await assertServed(rig.world, rig.base, rig.share.id, 2)
})

test('while it waits rules are applied and the share grows; a deletion is refused', async (t) => {
  const rig = await open(t)
  const { engine, base, share } = rig
  await rig.mirrored()
  rig.inSync()
  await rig.taskState('migration_driver_phase1_done')
  await base.accessRules.create(ruleOf(share))
  const applied = await engine.start(applyShareAccess, { shareId: share.id })
  assert.equal((await engine.settled(applied.id)).state, 'succeeded')
  assert.equal((await shareAgentOf(rig.world).shareStatus(share.id)).export?.clients.length, 1)
  const growth = { shareId: share.id, projectId: 'p', requestId: 'req-1', oldSizeGib: 2, newSizeGib: 3 }
  const grown = await engine.start(extendShare, growth)
  assert.equal((await engine.settled(grown.id)).state, 'succeeded')
  const { volumeId, flexvolId, projectId } = share
  await assert.rejects(
    engine.start(deleteShare, { shareId: share.id, volumeId, flexvolId, projectId, requestId: 'req-2' }),
    { code: 'conflict' },
  )
  await rig.trigger()
  assert.equal((await rig.ended()).state, 'succeeded')
})

test('a pause and a rate reach the move, and so does their end', async (t) => {
  const rig = await open(t)
  await rig.mirrored()
  await rig.engine.pause(rig.id)
  await until('the move is paused', async () => (await rig.part())?.control.paused === true)
  await rig.engine.steer(rig.id, { rate: 1_000_000, pace: '5ms' })
  await until('the move has the rate', async () => (await rig.part())?.control.rate === 1_000_000)
  assert.equal((await rig.part())?.control.pace, '5ms')
  await rig.engine.resume(rig.id)
  await until('the move goes on', async () => (await rig.part())?.control.paused === false)
  await rig.engine.cancel(rig.id)
  await rig.ended()
})

test('cancelled, it leaves no trace but its state', async (t) => {
  const rig = await open(t)
  await rig.mirrored()
  rig.inSync()
  await rig.taskState('migration_driver_phase1_done')
  await rig.engine.cancel(rig.id)
  assert.equal((await rig.ended()).state, 'cancelled')
  assert.deepEqual(await rig.status(), ['available', 'migration_cancelled'])
  assert.equal((await rig.part())?.state, 'cancelled')
  const copies = await rig.world.records.copies.ofFlexVol(rig.share.flexvolId ?? '')
  assert.deepEqual(
    copies.map(({ state, aggregate }) => [state, aggregate]),
    [['live', 'aggr1']],
  )
  await assertServed(rig.world, rig.base, rig.share.id, 2)
})

test('a move that somebody else gives up is a migration that was cancelled', async (t) => {
  const rig = await open(t)
  await rig.mirrored()
  const part = await rig.part()
  await rig.engine.cancel(part?.id ?? '')
  assert.equal((await rig.ended()).state, 'failed')
  assert.deepEqual(await rig.status(), ['available', 'migration_cancelled'])
})

test('a move that cannot begin is a migration in error, and the project is told why', async (t) => {
  const rig = await open(t)
  await rig.mirrored()
  await rig.engine.cancel(rig.id)
  await rig.ended()
  // Its FlexVol moves already.
  const input = (await rig.engine.get(rig.id)).input as MigrateShareInput
  const { flexvolId } = input
  await rig.engine.start(moveFlexVol, { flexvolId, from, to, ...input.move, cutoverAction: 'wait' })
  await rig.base.shares.update(rig.share.id, { status: 'migrating', taskState: 'migration_starting' })
  const again = await rig.engine.start(migrateShare, input)
  await until('it has ended', async () => hasEnded((await rig.engine.get(again.id)).state))
  assert.deepEqual(await rig.status(), ['available', 'migration_error'])
  const [message] = await rig.base.shareMessages.list({ now: '2000', limit: 10, offset: 0 })
  assert.match(message?.text ?? '', /flexvol\.move/)
})
