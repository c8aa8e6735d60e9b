/** Operations that give way to what a user asks for: with an executor that does as told, and with a real one. */
import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError, isDomainError } from '@volant/contract'
import {
  bind,
  Executor,
  final,
  MemoryStore,
  nothingToUndo,
  operation,
  type Operation,
  type RunRecord,
} from '@volant/saga'
import { operationEngine } from './operation-engine.ts'

type Ports = Record<string, () => unknown>
const look = { every: '10ms', timeout: '1m' } as const

/** prepare, [moved], COMMIT, settle: as parts of a move are. */
const part = operation<object, Ports>('volume.relocate', { version: 1 })
  .holds(() => ['volume/1'])
  .step('prepare', { do: () => {}, undo: async ({ ports }) => void (await ports['-prepare']?.()) })
  .wait('moved', { ...look, until: async ({ ports }) => ({ done: (await ports['moved']?.()) === true }) })
  .commit('commit', { do: () => {}, happened: () => true })
  .step('settle', { do: async ({ ports }) => void (await ports['settle']?.()) })
const named = (kind: string) =>
  operation<object, Ports>(kind, { version: 1 })
    .holds(() => ['volume/1'])
    .step('do', { do: async ({ ports }) => void (await ports['do']?.()), undo: nothingToUndo })
const attach = named('volume.attach')
const otherPart = named('image.relocate')
const liveMigration = named('server.live-migrate')

async function rig(t: TestContext, options?: { patienceMs: number }) {
  const store = new MemoryStore()
  const ports: Ports = {}
  const executor = new Executor({
    store,
    owner: 'test',
    operations: [part, attach, otherPart, liveMigration].map((one) => bind(one, ports)),
    policy: {
      longestBackoff: '1ms',
      longestCheckInterval: '2ms',
      undo: { attempts: 2, backoff: '1ms' },
      afterCommit: { attempts: 2, backoff: '1ms' },
    },
  })
  await executor.begin()
  t.after(() => executor.stop())
  const reached = async (id: string, step: string): Promise<void> => {
    for (let i = 0; (await executor.get(id)).step !== step; i++) {
      if (i === 2000) assert.fail(`the run did not come to ${step}: ${(await executor.get(id)).step}`)
      await sleep(5)
    }
  }
  return { ports, executor, reached, engine: operationEngine(() => executor, store, options) }
}

const refused = (error: unknown): boolean => isDomainError(error) && error.code === 'conflict'
const bounded = { timeout: 20_000 }

test('a part of a move is cancelled and undone before what a user asked for begins', bounded, async (t) => {
  const { ports, executor, engine, reached } = await rig(t)
  let isUndone = false
  let begunAfterUndo: boolean | undefined
  ports['-prepare'] = async () => {
    await sleep(20)
    isUndone = true
  }
  ports['do'] = () => (begunAfterUndo = isUndone)
  const { id } = await engine.start(part, {})
  await reached(id, 'moved')
  const asked = await engine.start(attach, {}, { id: 'chosen' })
  assert.equal(asked.id, 'chosen')
  assert.equal((await executor.get(id)).state, 'cancelled')
  assert.equal((await executor.ended(asked.id)).state, 'succeeded')
  assert.equal(begunAfterUndo, true)
})

test('a part past its commit is waited for', bounded, async (t) => {
  const { ports, executor, engine, reached } = await rig(t)
  const settle = Promise.withResolvers<void>()
  ports['moved'] = () => true
  ports['settle'] = () => settle.promise
  const { id } = await engine.start(part, {})
  await reached(id, 'settle')
  const asked = engine.start(attach, {})
  await sleep(20)
  settle.resolve()
  await asked
  assert.equal((await executor.get(id)).state, 'succeeded')
})

test(
  'a part that does not end in time, or that needs attention, is told as what is in the way',
  bounded,
  async (t) => {
    const { ports, engine, executor, reached } = await rig(t, { patienceMs: 50 })
    ports['-prepare'] = () => sleep(500)
    const { id } = await engine.start(part, {})
    await reached(id, 'moved')
    const inTheWay = (error: unknown): boolean => refused(error) && String(error).includes(id)
    await assert.rejects(engine.start(attach, {}), inTheWay)
    ports['-prepare'] = () => {
      throw final('stuck')
    }
    await executor.ended(id)

    const { ports: stuck, engine: second, executor: runs, reached: come } = await rig(t)
    stuck['-prepare'] = () => {
      throw final('stuck')
    }
    const { id: stuckId } = await second.start(part, {})
    await come(stuckId, 'moved')
    await assert.rejects(
      second.start(attach, {}),
      (error) => refused(error) && String(error).includes(stuckId),
    )
    assert.equal((await runs.get(stuckId)).state, 'needs-attention')
  },
)

test('parts do not give way to each other, nor what a user asked for to anybody', bounded, async (t) => {
  const { ports, engine, executor, reached } = await rig(t)
  const { id } = await engine.start(part, {})
  await reached(id, 'moved')
  await assert.rejects(engine.start(otherPart, {}), refused)
  assert.equal((await executor.get(id)).control.cancelRequested, false)
  const doing = Promise.withResolvers<void>()
  ports['do'] = () => doing.promise
  const first = await engine.start(attach, {})
  await assert.rejects(engine.start(attach, {}), refused)
  await assert.rejects(engine.start(part, {}), refused)
  assert.equal((await executor.get(first.id)).control.cancelRequested, false)
  doing.resolve()
})

/** An executor whose starts are refused by these holders, one after the other. */
function refusing(kinds: string[], cancel: () => Promise<unknown>) {
  const calls: string[] = []
  const executor = {
    start: async (): Promise<RunRecord> => {
      calls.push('start')
      const kind = kinds.shift()
      if (kind === undefined) return { id: 'new' } as RunRecord
      const detail = { key: 'volume/1', runId: `run-${kinds.length}`, kind }
      throw new DomainError('conflict', `volume/1 is in use by ${detail.runId}`, { detail })
    },
    cancel: async (id: string) => {
      calls.push(`cancel ${id}`)
      await cancel()
    },
    ended: async () => ({ state: 'cancelled' }),
  }
  return { calls, engine: operationEngine(() => executor as unknown as Executor, new MemoryStore()) }
}
const any = attach as Operation<object, Ports>

test('one part after the other may be met, but not for ever', async () => {
  const ends = async (): Promise<void> => {}
  const two = refusing(['image.relocate', 'volume.relocate'], ends)
  assert.deepEqual(await two.engine.start(any, {}), { id: 'new' })
  assert.deepEqual(two.calls, ['start', 'cancel run-1', 'start', 'cancel run-0', 'start'])
  const many = refusing(Array<string>(9).fill('volume.relocate'), ends)
  await assert.rejects(many.engine.start(any, {}), refused)
  assert.equal(many.calls.filter((call) => call === 'start').length, 5)
})

test('a part that had ended by then is none in the way; any other refusal is told at once', async () => {
  const over = refusing(['volume.relocate'], () => Promise.reject(new DomainError('conflict', 'has ended')))
  assert.deepEqual(await over.engine.start(any, {}), { id: 'new' })
  const other = refusing(['volume.migrate'], () => Promise.reject(new Error('never called')))
  await assert.rejects(other.engine.start(any, {}), refused)
  assert.deepEqual(other.calls, ['start'])
  const broken = refusing(['volume.relocate'], () => Promise.reject(new Error('the disk is gone')))
  await assert.rejects(broken.engine.start(any, {}), /the disk is gone/)
})

test('all parts that hold keys of what is asked for end, however many they are', bounded, async (t) => {
  const store = new MemoryStore()
  const snapshots = Array.from({ length: 8 }, (_, i) => `snapshot/${i}`)
  const move = operation<{ key: string }, null>('image.relocate', { version: 1 })
    .holds(({ key }) => [key])
    .wait('moved', { ...look, until: () => ({ done: false }) })
    .commit('commit', { do: () => {}, happened: () => true })
  const remove = operation<object, null>('volume.delete', { version: 1 })
    .holds(() => snapshots)
    .step('do', { do: () => {}, undo: nothingToUndo })
  const executor = new Executor({ store, owner: 'test', operations: [bind(move, null), bind(remove, null)] })
  await executor.begin()
  t.after(() => executor.stop())
  const engine = operationEngine(() => executor, store)
  const parts = await Promise.all(snapshots.map((key) => engine.start(move, { key })))
  const { id } = await engine.start(remove, {})
  assert.equal((await executor.ended(id)).state, 'succeeded')
  for (const part of parts) assert.equal((await executor.get(part.id)).state, 'cancelled')
})

test('a live migration is paused by nobody, nor by what it is a part of', async (t) => {
  const { executor, engine, ports } = await rig(t)
  const letGo = Promise.withResolvers<void>()
  ports['do'] = () => letGo.promise
  const { id } = await executor.start(liveMigration, {})
  await assert.rejects(engine.pause(id), refused)
  assert.equal((await executor.get(id)).control.paused, false)
  letGo.resolve()
  assert.equal((await executor.ended(id)).state, 'succeeded')
})
