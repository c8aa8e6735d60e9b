/** The decision register and its guard, as the operation meets them: who is first, who is gone, what is not known. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { DomainError } from '@volant/contract'
import { bind, Executor, MemoryStore } from '@volant/saga'
import { assertVolumeClean } from '../testing/invariants.ts'
import { makeVolume, migrationInput, openWorld } from '../testing/world.ts'
import { ensureHead } from './head.ts'
import { migrateVolume } from './migrate-volume.ts'

const unavailable = (what: string) => new DomainError('unavailable', what)

async function open(t: TestContext) {
  const world = await openWorld()
  const volume = await makeVolume(world, world.lma, { attached: true })
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  assert.ok(attachment)
  await ensureHead(world.ports, { fence: 0 }, attachment)
  const store = new MemoryStore()
  const engine = () =>
    new Executor({
      store,
      owner: 'test',
      operations: [bind(migrateVolume, world.ports)],
      policy: { longestBackoff: '1ms', longestCheckInterval: '5ms' },
    })
  const executor = engine()
  await executor.begin()
  t.after(async () => {
    await executor.stop()
    await world.db.destroy()
  })
  const input = migrationInput(world, volume)
  const agent = world.agents.holders('m1')
  const run = async () => {
    const { id } = await executor.start(migrateVolume, input)
    return executor.ended(id)
  }
  const failuresOf = async (id: string) =>
    (await executor.history(id)).flatMap((entry) => entry.failure?.message ?? []).join('; ')
  return { world, volume, executor, engine, input, agent, holderId: attachment.id, run, failuresOf }
}

/** Before the first call of `commitCutover` something happens; tells whether it did. */
function beforeCommit(agent: Awaited<ReturnType<typeof open>>['agent'], happens: () => void): () => boolean {
  const { commitCutover } = agent
  let happened = false
  agent.commitCutover = (...args) => {
    if (!happened) happens()
    happened = true
    return commitCutover(...args)
  }
  return () => happened
}

test('the commit comes before the record, and the record before finalize', async (t) => {
  const { world, agent, run } = await open(t)
  const order: string[] = []
  const { changeTruth, rehearseTruth } = world.ports.copies
  world.ports.copies.rehearseTruth = () => (order.push('rehearsal'), rehearseTruth())
  world.ports.copies.changeTruth = (change) => (order.push('record'), changeTruth(change))
  const { prepareCutover, commitCutover, finalizeCutover } = agent
  agent.prepareCutover = (...args) => (order.push('prepare'), prepareCutover(...args))
  agent.commitCutover = (...args) => (order.push('commit'), commitCutover(...args))
  agent.finalizeCutover = (...args) => (order.push('finalize'), finalizeCutover(...args))
  assert.equal((await run()).state, 'succeeded')
  assert.deepEqual(order, ['rehearsal', 'prepare', 'commit', 'record', 'finalize'])
})

test('a guard that gave the cutover up first costs an attempt, and nothing else', async (t) => {
  const { world, volume, input, agent, holderId, run, failuresOf } = await open(t)
  let records = 0
  const { changeTruth } = world.ports.copies
  world.ports.copies.changeTruth = (change) => (records++, changeTruth(change))
  const fired = beforeCommit(agent, () => assert.ok(agent.fireGuard(holderId)))
  const ended = await run()
  assert.equal(ended.state, 'succeeded')
  assert.ok(fired())
  assert.match(await failuresOf(ended.id), /source goes on/)
  assert.equal(records, 1, 'nothing was recorded for the attempt that was given up')
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('guards that are always first end the migration where it began', async (t) => {
  const { world, volume, input, agent, holderId, run } = await open(t)
  const { commitCutover } = agent
  let attempts = 0
  agent.commitCutover = (...args) => {
    attempts++
    agent.fireGuard(holderId)
    return commitCutover(...args)
  }
  assert.equal((await run()).state, 'failed')
  assert.equal(attempts, input.cutoverAttempts)
  await assertVolumeClean(world, volume.id, input, 'source')
})

test('nothing is committed without a guard', async (t) => {
  const { world, volume, input, agent, holderId, run, failuresOf } = await open(t)
  const killed = beforeCommit(agent, () => agent.killGuard(holderId))
  const ended = await run()
  assert.equal(ended.state, 'succeeded')
  assert.ok(killed())
  assert.match(await failuresOf(ended.id), /has no guard/)
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('a head that dies just before the commit comes back on the source, and the migration goes on', async (t) => {
  const { world, volume, input, agent, holderId, run } = await open(t)
  const died = beforeCommit(agent, () => agent.crashHolder(holderId))
  assert.equal((await run()).state, 'succeeded')
  assert.ok(died())
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('a commit whose answer was lost counts', async (t) => {
  const { world, volume, input, agent, run } = await open(t)
  agent.failNext('commitCutover', unavailable('the answer was lost'), 'after')
  assert.equal((await run()).state, 'succeeded')
  assert.deepEqual(agent.pendingFaults, [])
  assert.ok(!agent.calls.includes('abandonCutover'))
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('a register that cannot be asked is asked again, never guessed', async (t) => {
  const { world, volume, input, agent, run } = await open(t)
  agent.failNext('commitCutover', unavailable('the answer was lost'), 'after')
  for (let i = 0; i < 5; i++) agent.failNext('cutoverDecision', unavailable('the machine is away'))
  assert.equal((await run()).state, 'succeeded')
  assert.deepEqual(agent.pendingFaults, [])
  assert.ok(!agent.calls.includes('abandonCutover'))
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('a register that stays away needs attention, and is asked when that is resumed', async (t) => {
  const { world, volume, executor, input, agent, run } = await open(t)
  agent.failNext('commitCutover', unavailable('the answer was lost'), 'after')
  const { cutoverDecision } = agent
  agent.cutoverDecision = () => Promise.reject(unavailable('the machine is away'))
  const stuck = await run()
  assert.equal(stuck.state, 'needs-attention')
  assert.equal((await world.records.volumes.get(volume.id)).imageId, input.sourceImageId)
  agent.cutoverDecision = cutoverDecision
  await executor.resume(stuck.id)
  assert.equal((await executor.ended(stuck.id)).state, 'succeeded')
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('a guard that finalized first leaves only the tidying up', async (t) => {
  const { world, volume, input, agent, holderId, run } = await open(t)
  const { finalizeCutover } = agent
  let fired = 0
  agent.finalizeCutover = (...args) => {
    if (agent.fireGuard(holderId)) fired++
    assert.equal(agent.holders.get(holderId)?.image?.imageId, input.targetImageId)
    return finalizeCutover(...args)
  }
  assert.equal((await run()).state, 'succeeded')
  assert.equal(fired, 1)
  await assertVolumeClean(world, volume.id, input, 'target')
})

for (const finalized of [true, false]) {
  const what = finalized ? 'the guard finalizes' : 'nobody has finalized'
  test(`a crash after a commit that was never recorded goes forward (${what})`, async (t) => {
    const { world, volume, executor, engine, input, agent, holderId } = await open(t)
    const { changeTruth } = world.ports.copies
    const crashed = Promise.withResolvers<void>()
    world.ports.copies.changeTruth = () => {
      if (finalized) agent.fireGuard(holderId)
      executor.abandon()
      crashed.resolve()
      return Promise.reject(new Error('the process is gone'))
    }
    const { id } = await executor.start(migrateVolume, input)
    await crashed.promise
    assert.equal((await world.records.volumes.get(volume.id)).imageId, input.sourceImageId)
    world.ports.copies.changeTruth = changeTruth
    const next = engine()
    await next.begin()
    t.after(() => next.stop())
    assert.equal((await next.ended(id)).state, 'succeeded')
    await assertVolumeClean(world, volume.id, input, 'target')
  })
}

test('a commit by a replaced control plane that woke up once more is found', async (t) => {
  const { world, volume, input, agent, run } = await open(t)
  const { prepareCutover, commitCutover } = agent
  let late = false
  agent.prepareCutover = async (...args) => {
    const pending = await prepareCutover(...args)
    const [caller, holderId, jobId] = args
    // It was asked whether that is committed, and it was not yet.
    if (!late) await commitCutover(caller, holderId, jobId)
    late = true
    throw unavailable(`given up after ${pending.drainMs} ms`)
  }
  assert.equal((await run()).state, 'succeeded')
  assert.ok(late)
  await assertVolumeClean(world, volume.id, input, 'target')
})
