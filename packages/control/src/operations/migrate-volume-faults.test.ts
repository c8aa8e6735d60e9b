/** Sequences that were found by looking for them: each once lost, held or left something. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { DomainError, type Caller } from '@volant/contract'
import { bind, Executor, MemoryStore } from '@volant/saga'
import pino from 'pino'
import { systemClock } from '../ports/clock.ts'
import { retireSources } from '../reconcile/retention.ts'
import { assertVolumeClean } from '../testing/invariants.ts'
import { makeVolume, openWorld, migrationInput } from '../testing/world.ts'
import { ensureHead } from './head.ts'
import { migrateVolume } from './migrate-volume.ts'

const here = { lma: 'm1', lmb: 'm1', compute: 'm1' }
const apart = { lma: 'store-a', lmb: 'store-b', compute: 'compute' }
const quick = { longestBackoff: '1ms', longestCheckInterval: '5ms' } as const
const unavailable = (what: string) => new DomainError('unavailable', what)
const log = pino({ level: 'silent' })

async function open(
  t: TestContext,
  machines: typeof here,
  options: { attached: boolean; retentionSeconds?: number },
) {
  const world = await openWorld(machines)
  const volume = await makeVolume(world, world.lma, options)
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  if (attachment !== undefined) await ensureHead(world.ports, { fence: 0 }, attachment)
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
  const agent = world.agents.holders(options.attached ? machines.compute : machines.lma)
  const holderId = () => [...agent.holders.keys()][0] as string
  const run = async () => {
    const { id } = await executor.start(migrateVolume, input)
    return executor.ended(id)
  }
  return { world, volume, executor, input, agent, holderId, run }
}

const exportsOf = (world: Awaited<ReturnType<typeof openWorld>>) =>
  [...world.nodes.values()].flatMap((node) => [...node.exports.keys()])
const holdersOf = (world: Awaited<ReturnType<typeof openWorld>>) =>
  [...world.holders.values()].flatMap((agent) => [...agent.holders.keys()])

test('a detached volume that moved between machines is open nowhere', async (t) => {
  const { world, run } = await open(t, apart, { attached: false })
  assert.equal((await run()).state, 'succeeded')
  assert.deepEqual(holdersOf(world), [])
  assert.deepEqual(exportsOf(world), [], 'an export left open locks the image against the next attachment')
})

test('the source is taken away before finalize, also where a crash came between', async (t) => {
  const { world, agent, run } = await open(t, apart, { attached: true })
  const order: string[] = []
  const { revoke } = world.ports.backend
  world.ports.backend.revoke = (caller, copy, ...rest) => {
    if (copy.node === 'lma-01') order.push('revoke')
    return revoke(caller, copy, ...rest)
  }
  const finalize = agent.finalizeCutover
  let finalizes = 0
  agent.finalizeCutover = (...args) => {
    finalizes += 1
    order.push('finalize')
    if (finalizes === 1) return Promise.reject(unavailable('no connection'))
    order.splice(0, order.indexOf('finalize') + 1)
    order.push('finalize')
    return finalize(...args)
  }
  assert.equal((await run()).state, 'succeeded')
  assert.equal(finalizes, 2)
  assert.equal(order[0], 'revoke', order.join())
})

test('a source that does not answer after the record does not hold the client', async (t) => {
  const { world, volume, input, run } = await open(t, apart, { attached: true })
  const store = world.agents.storage('lma-01')
  for (let i = 0; i < 3; i++) store.failNext('ensureNoExport', unavailable('the node is down'))
  assert.equal((await run()).state, 'succeeded')
  assert.deepEqual(store.pendingFaults, [])
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('a head that died after the record, and then a source that does not answer, is no dead end', async (t) => {
  const { world, volume, input, agent, holderId, run } = await open(t, here, { attached: true })
  // As the agent of a real host: a holder that stands on the target by another way has no cutover to finalize.
  const finalize = agent.finalizeCutover
  let finalizes = 0
  agent.finalizeCutover = (...args) => {
    finalizes += 1
    if (finalizes === 1) {
      agent.crashHolder(holderId())
      return Promise.reject(unavailable('no connection'))
    }
    const pending = agent.holders.get(holderId())?.mirror?.phase === 'pending'
    return pending ? finalize(...args) : Promise.reject(new DomainError('conflict', 'at no cutover'))
  }
  agent.failNext('ensureLimits', unavailable('busy'))
  assert.equal((await run()).state, 'succeeded')
  await assertVolumeClean(world, volume.id, input, 'target')
})

for (const phase of ['copying', 'pending'] as const) {
  test(`a copy that ends while its head is dead (${phase}) leaves no mirror and no dead head`, async (t) => {
    const { world, volume, executor, input, agent, holderId } = await open(t, here, { attached: true })
    const stop = executor.onEvent((event) => {
      if (event.type !== 'run' || event.run.step !== 'inSync') return
      agent.setMirror(holderId(), { phase: 'copying', doneBytes: 1 })
    })
    t.after(stop)
    const { id } = await executor.start(migrateVolume, input)
    await new Promise((resolve) => setTimeout(resolve, 30))
    const { holderStatus, ensureHolder } = agent
    agent.ensureHolder = () => Promise.reject(unavailable('it does not start'))
    agent.mirrorStatus = () => Promise.reject(unavailable('it does not run'))
    if (phase === 'pending') {
      agent.setMirror(holderId(), { phase: 'pending' })
      agent.crashHolder(holderId())
    } else {
      agent.holderStatus = async () => undefined
    }
    await executor.cancel(id).catch(() => {})
    assert.match((await executor.ended(id)).state, /^(cancelled|failed)$/)
    if (phase === 'copying') agent.holderStatus = holderStatus
    agent.ensureHolder = ensureHolder
    assert.ok(await agent.holderStatus(holderId()), 'the head runs')
    await assertVolumeClean(world, volume.id, input, 'source')
  })
}

for (const machines of [here, apart]) {
  test(`a retention time of nothing does not overtake the operation (${machines.lma})`, async (t) => {
    const { world, executor, agent, run } = await open(t, machines, { attached: false, retentionSeconds: 0 })
    const retire = () =>
      retireSources({
        ...world.ports,
        caller: { fence: executor.fence },
        clock: systemClock,
        log,
        engine: { holderOf: () => Promise.resolve(undefined) }, // as if it were free
      })
    const finalize = agent.finalizeCutover
    agent.finalizeCutover = async (...args) => {
      const report = await finalize(...args)
      await retire()
      return report
    }
    assert.equal((await run()).state, 'succeeded')
    assert.deepEqual(holdersOf(world), [], 'no mover is left over')
    assert.deepEqual(exportsOf(world), [])
  })
}

test('the copies of a volume that an operation works on are not retired', async (t) => {
  const { world, volume, executor, run } = await open(t, here, { attached: true, retentionSeconds: 0.001 })
  assert.equal((await run()).state, 'succeeded')
  await new Promise((resolve) => setTimeout(resolve, 5))
  const caller: Caller = { fence: executor.fence }
  let held: { id: string; kind: string } | undefined = { id: 'x', kind: 'volume.migrate' }
  const asked: string[] = []
  const engine = {
    holderOf: (key: string) => {
      asked.push(key)
      return Promise.resolve(held)
    },
  }
  const ports = { ...world.ports, caller, clock: systemClock, log, engine }
  assert.equal(await retireSources(ports), 0)
  held = undefined
  assert.equal(await retireSources(ports), 1)
  assert.deepEqual(new Set(asked), new Set([`volume/${volume.id}`]))
})

test('a control plane that slept since PENDING does not change the truth', async (t) => {
  const { world, volume, input, agent, run } = await open(t, here, { attached: true })
  const prepare = agent.prepareCutover
  agent.prepareCutover = async (...args) => {
    const pending = await prepare(...args)
    // Another control plane has started meanwhile.
    await world.db
      .insertInto('operation_fence')
      .values({ id: 1, fence: 99, owner: 'other', acquired_at: '', alive_at: '' })
      .execute()
    return pending
  }
  await assert.rejects(run(), { code: 'unavailable' })
  assert.equal((await world.records.volumes.get(volume.id)).imageId, input.sourceImageId)
  assert.ok(!agent.calls.includes('abandonCutover'), 'it does nothing more, either')
})

test('an operator who pauses while a crash leaves PENDING does not hold the client', async (t) => {
  const { world, executor, input, volume, agent, holderId } = await open(t, here, { attached: true })
  const copying = Promise.withResolvers<void>()
  const stop = executor.onEvent((event) => {
    if (event.type !== 'run' || event.run.step !== 'inSync') return
    agent.setMirror(holderId(), { phase: 'copying', doneBytes: 1 })
    copying.resolve()
  })
  const { id } = await executor.start(migrateVolume, input)
  await copying.promise
  stop()
  await executor.pause(id)
  agent.setMirror(holderId(), { phase: 'pending' })
  await new Promise((resolve) => setTimeout(resolve, 60))
  assert.notEqual(agent.holders.get(holderId())?.mirror?.phase, 'pending')
  await executor.resume(id)
  agent.setMirror(holderId(), { phase: 'ready', doneBytes: 2 ** 30 })
  assert.equal((await executor.ended(id)).state, 'succeeded')
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('a copy that an error of the target stopped is told to go on', async (t) => {
  const { world, executor, input, volume, agent, holderId } = await open(t, here, { attached: true })
  const { ensureMirrorPaused } = agent
  let resumed = 0
  agent.ensureMirrorPaused = async (caller, holder, jobId, paused) => {
    await ensureMirrorPaused(caller, holder, jobId, paused)
    resumed += 1
    const mirror = agent.holders.get(holder)?.mirror
    if (resumed === 3) delete mirror?.error
    else agent.setMirror(holder, { phase: 'paused' })
  }
  const stop = executor.onEvent((event) => {
    if (event.type !== 'run' || event.run.step !== 'inSync' || resumed > 0) return
    agent.setMirror(holderId(), { phase: 'paused', error: 'The target does not accept writes.' })
  })
  t.after(stop)
  const { id } = await executor.start(migrateVolume, input)
  const run = await executor.ended(id)
  assert.equal(run.state, 'succeeded', run.failure?.message ?? '')
  assert.equal(resumed, 3)
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('a target that never accepts writes fails the migration, and the source goes on', async (t) => {
  const { world, executor, input, volume, agent, holderId } = await open(t, here, { attached: true })
  agent.ensureMirrorPaused = () => Promise.resolve()
  const stop = executor.onEvent((event) => {
    if (event.type !== 'run' || event.run.step !== 'inSync') return
    agent.setMirror(holderId(), { phase: 'paused', error: 'The target has no space left.' })
  })
  t.after(stop)
  const { id } = await executor.start(migrateVolume, input)
  const run = await executor.ended(id)
  assert.equal(run.state, 'failed')
  assert.match(run.failure?.message ?? '', /no space left/)
  await assertVolumeClean(world, volume.id, input, 'source')
})

test('a record that was written, and whose answer was lost, counts', async (t) => {
  const { world, volume, input, agent, run } = await open(t, apart, { attached: true })
  const { changeTruth } = world.ports.copies
  let answersLost = 0
  world.ports.copies.changeTruth = async (change) => {
    await changeTruth(change)
    answersLost += 1
    throw new Error('the connection to the database ended')
  }
  assert.equal((await run()).state, 'succeeded')
  assert.equal(answersLost, 1)
  assert.ok(!agent.calls.includes('abandonCutover'))
  await assertVolumeClean(world, volume.id, input, 'target')
})

test('after a cutover that was given up the volume is migrating again, not completing', async (t) => {
  const { world, volume, agent, holderId, run } = await open(t, here, { attached: true })
  const prepare = agent.prepareCutover
  let before: (string | null)[] = []
  agent.prepareCutover = async (...args) => {
    if (before.length > 0) return prepare(...args)
    before = [(await world.records.volumes.get(volume.id)).migrationStatus]
    const mirror = agent.holders.get(holderId())?.mirror
    if (mirror) Object.assign(mirror, { phase: 'failed' }) // the job is cancelled
    throw unavailable('the target does not answer')
  }
  const { ensureMirror } = agent
  agent.ensureMirror = async (...args) => {
    if (before.length > 0) before.push((await world.records.volumes.get(volume.id)).migrationStatus)
    return ensureMirror(...args)
  }
  assert.equal((await run()).state, 'succeeded')
  assert.deepEqual(before, ['completing', 'migrating'])
})

test('a head that died with its machine while its mirror was being started is started by the migration', async (t) => {
  const { agent, holderId, run } = await open(t, here, { attached: true })
  const { ensureMirror } = agent
  let starts = 0
  agent.ensureMirror = (...args) => {
    starts += 1
    if (starts > 1) return ensureMirror(...args)
    // With its supervisor.
    const head = agent.holders.get(holderId())
    assert.ok(head)
    head.dead = true
    return Promise.reject(unavailable('the machine lost its power'))
  }
  const done = await run()
  assert.equal(done.state, 'succeeded', JSON.stringify(done.failure))
})

test('a mirror has in flight what its pace says, also when it is started anew', async (t) => {
  const { world, agent, holderId, run } = await open(t, here, { attached: true })
  t.mock.method(world.pace, 'inFlightBytes', () => 1024 ** 2)
  const { ensureMirror, mirrorStatus } = agent
  const given: (number | undefined)[] = []
  agent.ensureMirror = (...args) => {
    given.push(args[1].inFlightBytes)
    return ensureMirror(...args)
  }
  let isLost = false
  agent.mirrorStatus = async (...args) => {
    const mirror = agent.holders.get(holderId())?.mirror
    if (!isLost && mirror) Object.assign(mirror, { phase: 'failed' })
    isLost = true
    return mirrorStatus(...args)
  }
  assert.equal((await run()).state, 'succeeded')
  assert.deepEqual(given, [1024 ** 2, 1024 ** 2])
})
