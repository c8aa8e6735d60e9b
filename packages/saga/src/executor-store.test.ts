/** A store that takes no writes for a while: nothing is lost, nothing is done twice, and it is seen. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '@volant/contract/testing/until.ts'
import { DomainError } from '@volant/contract/errors.ts'
import { final } from './failure.ts'
import type { SagaStore } from './store.ts'
import { flow, openBench } from './testing/flow.ts'
import { refusedWith } from './testing/store-suite.ts'

const bounded = { timeout: 30_000 }
const full = (): Error => new DomainError('unavailable', 'The database cannot be used now: its disk is full.')

type Method = 'record' | 'createRun' | 'setControls' | 'heartbeat' | 'get'

/** Lets the store fail while `fails` says so; `after`: the write took effect, and only its answer is lost. */
function fail(
  store: SagaStore,
  methods: Method[],
  fails: () => 'before' | 'after' | null,
): { calls: number } {
  const counted = { calls: 0 }
  for (const method of methods) {
    const real = store[method].bind(store) as (params: unknown) => Promise<unknown>
    const failing = async (params: unknown): Promise<unknown> => {
      counted.calls++
      const how = fails()
      if (how === 'before') throw full()
      const result = await real(params)
      if (how === 'after') throw full()
      return result
    }
    Object.assign(store, { [method]: failing })
  }
  return counted
}

for (const how of ['before', 'after'] as const) {
  for (let write = 1; write <= flow.nodes.length; write++) {
    test(
      `the store fails ${how} write ${write} of a run: each step is done once, the log is whole`,
      bounded,
      async (t) => {
        const given = openBench(t)
        const executor = await given.engine()
        let writes = 0
        let left = 3
        fail(given.store, ['record'], () => {
          if (left < 3 ? left > 0 : ++writes === write) return left-- > 0 ? how : null
          return null
        })
        const { id } = await executor.start(flow, { id: '1' })
        assert.equal((await executor.ended(id)).state, 'succeeded')
        assert.equal(left, 0, 'the fault was reached')
        assert.deepEqual(given.ports.calls, ['prepare', 'copy', 'equal', 'switch', 'clear', 'note'])
        const log = await executor.history(id)
        assert.deepEqual(
          log.map(({ seq }) => seq),
          log.map((_, i) => i + 1),
        )
        assert.equal(log.filter(({ event }) => event === 'done').length, flow.nodes.length)
        assert.equal(executor.storeTrouble, null)
      },
    )
  }
}

test(
  'a store that fails is seen, with the reason and with who waits; it is tried by one for all',
  bounded,
  async (t) => {
    const given = openBench(t)
    const executor = await given.engine()
    const heard: string[] = []
    executor.onEvent(({ type }) => type.startsWith('store-') && heard.push(type))
    const gate = Promise.withResolvers<void>()
    given.ports.script['copy'] = () => gate.promise
    const ids: string[] = []
    for (let i = 0; i < 20; i++) ids.push((await executor.start(flow, { id: String(i) })).id)
    await until('all copy', () => given.ports.calls.filter((call) => call === 'copy').length === 20)
    let failing = true
    const counted = fail(given.store, ['record'], () => (failing ? 'before' : null))
    gate.resolve()
    await until('all wait', () => executor.storeTrouble?.waiting === 20)
    const { reason, since, attempts } = executor.storeTrouble ?? assert.fail()
    assert.match(reason, /its disk is full/)
    assert.ok(Date.parse(since) <= Date.now() && attempts >= 20)
    const first = counted.calls
    await sleep(700)
    // 50, 100, 200, 400 ms: by one of them; twenty would have made eighty attempts.
    assert.ok(counted.calls - first < 20, `${counted.calls - first} attempts while it fails`)
    failing = false
    for (const id of ids) assert.equal((await executor.ended(id)).state, 'succeeded')
    assert.equal(executor.storeTrouble, null)
    assert.equal(given.ports.calls.filter((call) => call === 'copy').length, 20, 'nothing was done twice')
    assert.equal(heard.filter((type) => type === 'store-recovered').length, 1)
  },
)

test('the heartbeat sees a store that fails while nothing is under way', bounded, async (t) => {
  const given = openBench(t)
  const executor = await given.engine({ heartbeatEvery: 5 })
  const keepAlive = setInterval(() => {}, 1000)
  t.after(() => clearInterval(keepAlive))
  let failing = true
  fail(given.store, ['heartbeat'], () => (failing ? 'before' : null))
  await until('it is seen', () => executor.storeTrouble?.waiting === 0)
  failing = false
  await until('it is seen to be over', () => executor.storeTrouble === null)
})

test('a run whose creation took effect, though the store said otherwise, goes on', bounded, async (t) => {
  const given = openBench(t)
  const executor = await given.engine()
  let once = true
  fail(given.store, ['createRun'], () => {
    const how = once ? 'after' : null
    once = false
    return how
  })
  const { id } = await executor.start(flow, { id: '1' })
  assert.equal((await executor.ended(id)).state, 'succeeded')
})

test(
  'a run of which nobody knows whether it was created is refused, and goes on when it turns out to be there',
  bounded,
  async (t) => {
    const given = openBench(t)
    const executor = await given.engine({ heartbeatEvery: 5 })
    const keepAlive = setInterval(() => {}, 1000)
    t.after(() => clearInterval(keepAlive))
    let failing = true
    fail(given.store, ['createRun'], () => (failing ? 'after' : null))
    fail(given.store, ['get', 'heartbeat'], () => (failing ? 'before' : null))
    await assert.rejects(executor.start(flow, { id: '1' }), refusedWith('unavailable', /disk is full/))
    failing = false
    await until('it is carried out', () => given.ports.calls.includes('note'))
    await until('its key is free', () => executor.storeTrouble === null)
    await until('the run has ended', async () => (await given.store.holderOf('thing/1')) === undefined)
  },
)

test('a run that was not created leaves nothing', bounded, async (t) => {
  const given = openBench(t)
  const executor = await given.engine()
  let failing = true
  fail(given.store, ['createRun'], () => (failing ? 'before' : null))
  await assert.rejects(executor.start(flow, { id: '1' }), refusedWith('unavailable'))
  failing = false
  const { id } = await executor.start(flow, { id: '1' })
  assert.equal((await executor.ended(id)).state, 'succeeded')
})

test('a decision that the store does not take is refused, and nothing is changed', bounded, async (t) => {
  const given = openBench(t)
  const executor = await given.engine({ heartbeatEvery: 5 })
  const keepAlive = setInterval(() => {}, 1000)
  t.after(() => clearInterval(keepAlive))
  given.ports.script['clear'] = () => {
    throw final('still mounted')
  }
  const { id } = await executor.start(flow, { id: '1' })
  await executor.ended(id)
  let failing = true
  fail(given.store, ['record', 'setControls', 'heartbeat'], () => (failing ? 'before' : null))
  await until('it is seen', () => executor.storeTrouble !== null)
  const unavailable = refusedWith('unavailable', /disk is full/)
  await assert.rejects(executor.skip(id), unavailable)
  await assert.rejects(executor.resume(id), unavailable)
  await assert.rejects(executor.steer(id, { rate: 5 }), unavailable)
  failing = false
  await until('it is over', () => executor.storeTrouble === null)
  assert.equal((await executor.get(id)).state, 'needs-attention')
  await executor.skip(id)
  assert.equal((await executor.ended(id)).state, 'succeeded')
})
