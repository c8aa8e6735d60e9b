import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { DomainError } from '@volant/contract'
import { bind, Executor, MemoryStore, type RunRecord } from '@volant/saga'
import { operationEngine } from '../app/operation-engine.ts'
import { openEvacuation, type Evacuation } from '../testing/evacuation.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { migrationInput } from '../testing/world.ts'
import { ensureHead } from './head.ts'
import { evacuateServer } from './evacuate-server.ts'
import { migrateVolume } from './migrate-volume.ts'
import { stopServer } from './stop-server.ts'
import { takeOverServer } from './take-over-server.ts'

/** The real engine over an evacuation's world, with what else works on servers and volumes. */
async function withEngine(t: TestContext, it: Evacuation) {
  const store = new MemoryStore()
  const late: { executor?: Executor } = {}
  const engine = operationEngine(() => late.executor as Executor, store)
  const ports = { ...it.ports, engine }
  const executor = new Executor({
    store,
    owner: 'test',
    operations: [
      bind(evacuateServer, ports),
      bind(takeOverServer, ports),
      bind(migrateVolume, ports),
      bind(stopServer, ports),
    ],
    policy: {
      step: { attempts: 2, backoff: '1ms' },
      afterCommit: { attempts: 2, backoff: '1ms' },
      undo: { attempts: 2, backoff: '1ms' },
      ask: { attempts: 2, backoff: '1ms' },
      longestBackoff: '5ms',
      longestCheckInterval: '10ms',
    },
  })
  late.executor = executor
  await executor.begin()
  t.after(async () => {
    await executor.stop()
    await it.close()
  })
  return {
    executor,
    engine,
    evacuate: async (patienceSeconds = 60): Promise<RunRecord> => {
      const input = { ...it.input, requestId: 'req-1', patienceSeconds }
      const { id } = await executor.start(evacuateServer, input)
      return executor.ended(id)
    },
  }
}

const away = new DomainError('unavailable', 'lma-01 does not answer.')

test('storage that does not answer: it is refused, says so, and the server is where it was; a retry succeeds', async (t) => {
  const it = await openEvacuation()
  const { evacuate } = await withEngine(t, it)
  const node = it.world.nodes.get('lma-01')
  for (let i = 0; i < 2000; i += 1) node?.failNext('ensureNoExport', away)
  const run = await evacuate()
  assert.equal(run.state, 'failed')
  assert.match(run.failure?.message ?? '', /can't be fenced off from host compute-1: lma-01 does not answer/)
  const server = await it.now()
  assert.deepEqual([server.host, server.taskState], ['compute-1', null])
  assert.match(server.fault?.message ?? '', /was not evacuated from compute-1: .*can't be fenced off/)
  assert.deepEqual(it.headsOn('m3'), [], 'nothing was opened at the destination')
  const [migration] = await it.ports.serverMigrations.list({})
  assert.deepEqual([migration?.status, migration?.reserves], ['failed', null])
  assert.ok(node)
  ;(node.pendingFaults as unknown[]).length = 0
  await it.ports.serverMigrations.update('evacuation-1', { status: 'accepted' })
  await it.ports.servers.update(server.id, { taskState: 'rebuilding' })
  assert.equal((await evacuate()).state, 'succeeded')
  assert.equal((await it.now()).host, 'compute-2')
})

test('the answer to a revoke is lost: it is asked again', async (t) => {
  const it = await openEvacuation()
  const { evacuate } = await withEngine(t, it)
  it.world.nodes.get('lma-01')?.failNext('ensureNoExport', away, 'after')
  assert.equal((await evacuate()).state, 'succeeded')
  assert.deepEqual(it.world.nodes.get('lma-01')?.pendingFaults, [])
  assert.deepEqual(it.clients(), ['m3'])
})

test('every export by which the machine could reach the image is closed, whatever holder it was made for', async (t) => {
  const it = await openEvacuation()
  const { evacuate } = await withEngine(t, it)
  const [copy] = await it.world.records.copies.ofVolume(it.volume.id)
  if (copy === undefined) throw new Error('no copy')
  await it.world.backend.standBy({ fence: 0 }, copy, 'm2', crypto.randomUUID())
  assert.deepEqual(it.clients(), ['m2', 'm2'])
  assert.equal((await evacuate()).state, 'succeeded')
  assert.deepEqual(it.clients(), ['m3'])
})

test('an image on the silent machine itself can be taken over only if its storage agent says that it is closed', async (t) => {
  const it = await openEvacuation({}, { machines: { lma: 'm2', lmb: 'm1', compute: 'm2', compute2: 'm3' } })
  const { evacuate } = await withEngine(t, it)
  const run = await evacuate()
  assert.equal(run.state, 'failed')
  assert.match(run.failure?.message ?? '', /is a file on its own machine m2, and is still open there/)
  assert.equal((await it.now()).host, 'compute-1')
  await it.world.holders.get('m2')?.ensureNoHolder({ fence: 0 }, it.attachment.headId)
  await it.ports.serverMigrations.update('evacuation-1', { status: 'accepted' })
  await it.ports.servers.update(it.server.id, { taskState: 'rebuilding' })
  assert.equal((await evacuate()).state, 'succeeded')
})

test('once fenced the head gets nothing, whoever asks, until its host answers; then its guest goes on', async (t) => {
  const it = await openEvacuation()
  const { evacuate } = await withEngine(t, it)
  it.world.holders.get('m3')?.failNext('ensureHolder', new DomainError('conflict', 'no room.'))
  assert.equal((await evacuate()).state, 'failed')
  assert.deepEqual(it.clients(), [], 'nobody may write')
  it.setSilent(false)
  await assert.rejects(
    ensureHead(it.ports, { fence: 1 }, it.attachment),
    /gets no access to storage: its host was fenced/,
  )
  assert.deepEqual(it.clients(), [])
  assert.equal(await it.comesBack(), 0, 'it is no zombie')
  assert.deepEqual(it.clients(), ['m2'])
  assert.deepEqual(it.headsOn('m2'), [it.attachment.headId])
  await assertWorldSound(it.world)
})

test('the host comes back in the middle, after the fence: its guest is left alone, and has nothing, until the end', async (t) => {
  const it = await openEvacuation()
  const { engine, evacuate } = await withEngine(t, it)
  const seen: unknown[] = []
  const holder = it.world.holders.get('m3')
  const open = holder?.ensureHolder.bind(holder)
  const agents = it.ports.agents
  const back = async (): Promise<void> => {
    seen.push(await it.comesBack(engine, { fence: 1 }), it.clients().includes('m2'))
    it.setSilent(true)
  }
  it.ports.agents.holders = (machine: string) => {
    if (machine !== 'm3') return agents.holders(machine)
    return new Proxy(it.world.agents.holders('m3'), {
      get: (target, name, receiver) =>
        name === 'ensureHolder'
          ? async (...args: Parameters<NonNullable<typeof open>>) => {
              if (seen.length === 0) await back()
              return open?.(...args)
            }
          : (Reflect.get(target, name, receiver) as unknown),
    })
  }
  assert.equal((await evacuate()).state, 'succeeded')
  assert.deepEqual(seen, [0, false])
  assert.deepEqual(it.clients(), ['m3'])
})

test('two evacuations of a server: the second is refused, and the first goes on', async (t) => {
  const it = await openEvacuation()
  const { executor } = await withEngine(t, it)
  const input = { ...it.input, requestId: 'req-1', patienceSeconds: 60 }
  const { id } = await executor.start(evacuateServer, input)
  await assert.rejects(executor.start(evacuateServer, input), /server.evacuate/)
  assert.equal((await executor.ended(id)).state, 'succeeded')
})

test('a stop that waits for the silent host is ended, and the server stays stopped, as was asked', async (t) => {
  const it = await openEvacuation()
  const { executor, evacuate } = await withEngine(t, it)
  await it.ports.servers.update(it.server.id, { taskState: 'powering-off' })
  const { id } = await executor.start(stopServer, { serverId: it.server.id, requestId: 'req-0', graceMs: 0 })
  await executor.ended(id)
  assert.equal((await executor.get(id)).state, 'needs-attention')
  await it.ports.servers.update(it.server.id, { taskState: 'rebuilding' })
  assert.equal((await evacuate()).state, 'succeeded')
  const server = await it.now()
  assert.deepEqual([server.host, server.vmState, server.taskState], ['compute-2', 'stopped', null])
  assert.equal(await it.guestAt('compute-2'), 'absent')
  assert.equal((await executor.get(id)).state, 'succeeded')
})

test('a volume whose mirror was in the dead head: its migration is undone, and the source is the truth', async (t) => {
  const it = await openEvacuation({}, { silent: false })
  const { executor, evacuate } = await withEngine(t, it)
  const input = migrationInput(it.world, it.volume)
  it.ports.policy = { ...it.ports.policy }
  await executor.pause((await executor.start(migrateVolume, input)).id)
  const [migration] = (await executor.list({ limit: 1 })).runs
  if (migration === undefined) throw new Error('no migration')
  it.setSilent(true)
  await executor.resume(migration.id).catch(() => {})
  assert.equal((await evacuate()).state, 'succeeded')
  assert.ok((await executor.get(migration.id)).endedAt !== null)
  const server = await it.now()
  assert.equal(server.host, 'compute-2')
  const { imageId } = await it.world.records.volumes.get(it.volume.id)
  assert.equal(imageId, input.sourceImageId)
  assert.deepEqual(it.clients(), ['m3'])
  await it.comesBack()
  await assertWorldSound(it.world)
})

test('a volume at its cutover, with its register on the dead host: it is refused with that reason, and nothing is guessed', async (t) => {
  const it = await openEvacuation({}, { silent: false })
  const { executor, evacuate } = await withEngine(t, it)
  const input = migrationInput(it.world, it.volume)
  const holder = it.world.holders.get('m2')
  // The last that is heard of the host: whether it has committed, nobody else knows.
  holder?.failNext('commitCutover', new DomainError('unavailable', 'the answer was lost'), 'after')
  const silence = it.ports.agents.holders
  it.ports.agents.holders = (machine: string) => {
    if (machine === 'm2' && holder?.calls.includes('commitCutover')) it.setSilent(true)
    return silence(machine)
  }
  holder?.failNext('cutoverDecision', new DomainError('unavailable', 'the answer was lost'))
  const { id } = await executor.start(migrateVolume, input)
  await executor.ended(id)
  const stuck = await executor.get(id)
  assert.deepEqual([stuck.state, stuck.step], ['needs-attention', 'cutover'])
  const run = await evacuate(0)
  assert.equal(run.state, 'failed')
  assert.match(
    run.failure?.message ?? '',
    /at its cutover, and which of its images is the truth is known to host compute-1 alone/,
  )
  assert.equal((await it.now()).host, 'compute-1')
  assert.deepEqual(it.headsOn('m3'), [])
})
