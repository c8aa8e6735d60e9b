/** A copy whose job ends between a look at it and the rate that follows from it: several times a second it may. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { DomainError } from '@volant/contract'
import { bind, Executor, MemoryStore } from '@volant/saga'
import type { CopyPace } from '../ports/copy-pace.ts'
import { blockStoragePorts } from '../testing/block-storage.ts'
import { addSnapshot } from '../testing/snapshots.ts'
import { ungoverned } from '../testing/ungoverned.ts'
import { makeVolume, migrationInput, openWorld, type World } from '../testing/world.ts'
import { tellUnlessEnded } from './copy-wish.ts'
import { createSnapshot } from './create-snapshot.ts'
import { ensureHead } from './head.ts'
import { migrateVolume } from './migrate-volume.ts'

const gone = () => new DomainError('notFound', 'The job ended or was never started.')

/** As the governor: another rate at each look. */
function restless(): CopyPace {
  let rate = 1_000_000
  return { ...ungoverned, at: async (...args) => ({ ...(await ungoverned.at(...args)), rate: (rate += 1) }) }
}

function executorOf(t: TestContext, world: World): Executor {
  const ports = { ...blockStoragePorts(world), pace: restless() }
  const executor = new Executor({
    store: new MemoryStore(),
    owner: 'test',
    operations: [bind(migrateVolume, { ...world.ports, pace: restless() }), bind(createSnapshot, ports)],
    policy: { longestBackoff: '1ms', longestCheckInterval: '5ms' },
  })
  t.after(async () => {
    await executor.stop()
    await world.db.destroy()
  })
  return executor
}

async function volumeIn(world: World, attached: boolean) {
  const volume = await makeVolume(world, world.lma, { attached })
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  if (attachment !== undefined) await ensureHead(world.ports, { fence: 0 }, attachment)
  return volume
}

async function startSnapshot(world: World, executor: Executor, attached: boolean) {
  const volume = await volumeIn(world, attached)
  const snapshot = await addSnapshot(world, volume)
  await executor.begin()
  return executor.start(createSnapshot, {
    snapshotId: snapshot.id,
    volumeId: volume.id,
    projectId: volume.projectId,
    requestId: 'req-1',
    copyId: crypto.randomUUID(),
  })
}

test('a mirror that is gone when its rate is set is started again', async (t) => {
  const world = await openWorld()
  const executor = executorOf(t, world)
  const input = { ...migrationInput(world, await volumeIn(world, true)), retentionSeconds: 600 }
  const agent = world.agents.holders('m1')
  const { setMirrorRate, ensureMirror } = agent
  let [told, started] = [0, 0]
  agent.setMirrorRate = (caller, holderId, ...rest) => {
    told += 1
    // Its head died, and came up again without it.
    if (told === 1) delete agent.holders.get(holderId)?.mirror
    return setMirrorRate(caller, holderId, ...rest)
  }
  agent.ensureMirror = (...args) => {
    started += 1
    return ensureMirror(...args)
  }
  await executor.begin()
  const { id } = await executor.start(migrateVolume, input)
  const run = await executor.ended(id)
  assert.equal(run.state, 'succeeded', JSON.stringify(run))
  assert.equal(started, 2)
})

test("a head's copy of an instant that is gone when its rate is set does not end the snapshot", async (t) => {
  const world = await openWorld({ lma: 'm1', lmb: 'm1', compute: 'm1' }, { reflink: false })
  const executor = executorOf(t, world)
  const agent = world.agents.holders('m1')
  const status = agent.pointCopyStatus
  let looks = 0
  agent.pointCopyStatus = async (...args) => {
    looks += 1
    return looks === 1 ? { phase: 'copying', doneBytes: 1, totalBytes: 2 } : status(...args)
  }
  agent.failNext('setMirrorRate', gone())
  const { id } = await startSnapshot(world, executor, true)
  const run = await executor.ended(id)
  assert.equal(run.state, 'succeeded', JSON.stringify(run))
  assert.deepEqual(agent.pendingFaults, [])
})

test('a copy at rest that has ended when its rate is set does not end the snapshot', async (t) => {
  const world = await openWorld({ lma: 'm1', lmb: 'm1', compute: 'm1' }, { reflink: false })
  const executor = executorOf(t, world)
  const node = world.agents.storage(world.lma.node)
  const status = node.imageCopyStatus
  let looks = 0
  node.imageCopyStatus = async (imageId) => {
    looks += 1
    return looks === 1 ? { phase: 'copying', doneBytes: 1, totalBytes: 2, rate: 0 } : status(imageId)
  }
  node.failNext('setImageCopyRate', gone())
  const { id } = await startSnapshot(world, executor, false)
  const run = await executor.ended(id)
  assert.equal(run.state, 'succeeded', JSON.stringify(run))
  assert.deepEqual(node.pendingFaults, [])
})

test('what is no end of the job is not swallowed', async () => {
  for (const code of ['unavailable', 'staleFence'] as const) {
    await assert.rejects(
      tellUnlessEnded(() => Promise.reject(new DomainError(code, 'no'))),
      { code },
    )
  }
  await tellUnlessEnded(() => Promise.reject(gone()))
  await tellUnlessEnded(() => Promise.reject(new DomainError('conflict', 'it is just ending')))
})
