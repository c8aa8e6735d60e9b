import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { DomainError } from '@volant/contract'
import { bind, Executor, MemoryStore } from '@volant/saga'
import { assertVolumeClean } from '../testing/invariants.ts'
import { makeVolume, migrationInput, openWorld } from '../testing/world.ts'
import { migrateVolume } from './migrate-volume.ts'

const quick = { longestBackoff: '1ms', longestCheckInterval: '5ms' } as const

async function start(
  t: TestContext,
  options: { attached: boolean; retentionSeconds?: number; remote?: boolean },
) {
  const world = await openWorld(
    options.remote === true ? { lma: 'store-a', lmb: 'store-b', compute: 'compute' } : undefined,
  )
  const volume = await makeVolume(world, world.lma, options)
  const executor = new Executor({
    store: new MemoryStore(),
    owner: 'test',
    operations: [bind(migrateVolume, world.ports)],
    policy: quick,
  })
  await executor.begin()
  t.after(async () => {
    await executor.stop()
    await world.db.destroy()
  })
  const input = { ...migrationInput(world, volume), retentionSeconds: options.retentionSeconds ?? 600 }
  const holder = () =>
    world.agents.holders(
      options.attached ? (options.remote ? 'compute' : 'm1') : options.remote ? 'store-a' : 'm1',
    )
  return { world, volume, executor, input, holder }
}

for (const attached of [true, false]) {
  for (const remote of [false, true]) {
    const what = `${attached ? 'attached' : 'detached'}, ${remote ? 'between machines' : 'on one machine'}`
    test(`a volume moves (${what})`, async (t) => {
      const { world, volume, executor, input } = await start(t, { attached, remote })
      const { id } = await executor.start(migrateVolume, input)
      const run = await executor.ended(id)
      assert.equal(run.state, 'succeeded', run.failure?.message ?? '')
      await assertVolumeClean(world, volume.id, input, 'target')
      assert.equal((await world.records.volumes.get(volume.id)).migrationStatus, 'success')
      const source = await world.records.copies.get(input.sourceImageId)
      assert.equal(source.state, 'retained')
      assert.equal(world.nodes.get('lma-01')?.images.get(source.imageId)?.readOnly, true)
    })
  }
}

test('with no retention the source is gone', async (t) => {
  const { world, volume, executor, input } = await start(t, { attached: true, retentionSeconds: 0 })
  const { id } = await executor.start(migrateVolume, input)
  assert.equal((await executor.ended(id)).state, 'succeeded')
  await assertVolumeClean(world, volume.id, input, 'target')
  assert.equal(world.nodes.get('lma-01')?.images.size, 0)
})

test('a cutover that backs out is tried again, and the reason is kept', async (t) => {
  const { world, volume, executor, input, holder } = await start(t, { attached: true })
  holder().failNext('prepareCutover', new DomainError('unavailable', 'the target did not answer'))
  const { id } = await executor.start(migrateVolume, input)
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.deepEqual(holder().pendingFaults, [])
  const log = await executor.history(id)
  assert.ok(log.some((entry) => entry.failure?.message.includes('the target did not answer')))
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('a cutover that keeps backing out leaves the source as it was', async (t) => {
  const { world, volume, executor, input, holder } = await start(t, { attached: true })
  for (let i = 0; i < input.cutoverAttempts; i++) {
    holder().failNext('prepareCutover', new DomainError('conflict', 'not PENDING inside the window'))
  }
  const { id } = await executor.start(migrateVolume, input)
  const run = await executor.ended(id)
  assert.equal(run.state, 'failed')
  assert.deepEqual(holder().pendingFaults, [])
  await assertVolumeClean(world, volume.id, input, 'source')
  assert.equal((await world.records.volumes.get(volume.id)).migrationStatus, 'error')
})

test('a finalize whose reply is lost counts as done', async (t) => {
  const { world, volume, executor, input, holder } = await start(t, { attached: true })
  holder().failNext('finalizeCutover', new DomainError('unavailable', 'the reply was lost'), 'after')
  const { id } = await executor.start(migrateVolume, input)
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.deepEqual(holder().pendingFaults, [])
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('a finalize that never arrived is carried out, because the record names the target', async (t) => {
  const { world, volume, executor, input, holder } = await start(t, { attached: true })
  holder().failNext('finalizeCutover', new DomainError('unavailable', 'no connection'))
  const { id } = await executor.start(migrateVolume, input)
  assert.equal((await executor.ended(id)).state, 'succeeded')
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('a record that cannot be written after the commit is caught up with, and the target goes on', async (t) => {
  const { world, volume, executor, input, holder } = await start(t, { attached: true })
  const { changeTruth } = world.ports.copies
  const order: string[] = []
  world.ports.copies.changeTruth = (change) => {
    order.push(holder().calls.includes('finalizeCutover') ? 'after finalize' : 'while I/O is held')
    if (order.length === 1) return Promise.reject(new Error('database or disk is full'))
    return changeTruth(change)
  }
  const { id } = await executor.start(migrateVolume, input)
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.deepEqual(order, ['while I/O is held', 'after finalize'])
  assert.ok(!holder().calls.includes('abandonCutover'))
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('a holder that dies while it copies starts the copy again', async (t) => {
  const { world, volume, executor, input, holder } = await start(t, { attached: true })
  let died = false
  const stop = executor.onEvent((event) => {
    if (event.type !== 'run' || event.run.step !== 'inSync' || died) return
    died = true
    const [head] = [...(world.holders.get('m1')?.holders.keys() ?? [])]
    world.holders.get('m1')?.crashHolder(head as string)
  })
  t.after(stop)
  const { id } = await executor.start(migrateVolume, input)
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.ok(died)
  assert.ok(holder().calls.filter((call) => call === 'ensureMirror').length >= 2)
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('cancelling before the cutover leaves no trace', async (t) => {
  const { world, volume, executor, input } = await start(t, { attached: true })
  const stop = executor.onEvent((event) => {
    if (event.type !== 'run' || event.run.step !== 'inSync') return
    const [head] = [...(world.holders.get('m1')?.holders.keys() ?? [])]
    world.holders.get('m1')?.setMirror(head as string, { phase: 'copying', doneBytes: 1024 })
  })
  const { id } = await executor.start(migrateVolume, input)
  await new Promise((resolve) => setTimeout(resolve, 50))
  stop()
  await executor.cancel(id)
  assert.equal((await executor.ended(id)).state, 'cancelled')
  await assertVolumeClean(world, volume.id, input, 'source')
  assert.equal((await world.records.volumes.get(volume.id)).migrationStatus, null)
  await assert.rejects(executor.cancel(id), { code: 'conflict' })
})

test('the rate and a pause reach the copy', async (t) => {
  const { world, executor, input, holder } = await start(t, { attached: true })
  const copying = Promise.withResolvers<void>()
  const stop = executor.onEvent((event) => {
    if (event.type !== 'run' || event.run.step !== 'inSync') return
    const [head] = [...(world.holders.get('m1')?.holders.keys() ?? [])]
    world.holders.get('m1')?.setMirror(head as string, { phase: 'copying', doneBytes: 1024 })
    copying.resolve()
  })
  t.after(stop)
  const { id } = await executor.start(migrateVolume, input)
  await copying.promise
  stop()
  await executor.pause(id)
  await executor.steer(id, { rate: 1_000_000 })
  await new Promise((resolve) => setTimeout(resolve, 50))
  const [head] = [...(world.holders.get('m1')?.holders.values() ?? [])]
  assert.equal(head?.mirror?.rate, 1_000_000)
  assert.equal(head?.mirror?.pausedByUser, true)
  assert.equal((await executor.get(id)).state, 'paused')
  await executor.resume(id)
  world.holders.get('m1')?.setMirror(head?.spec.holderId as string, { phase: 'ready', doneBytes: 2 ** 30 })
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.ok(holder().calls.includes('setMirrorRate'))
})
