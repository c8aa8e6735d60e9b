/** What an engine leaves behind when it stops, dies or is replaced, and how the next one carries it on. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '@volant/contract/testing/until.ts'
import { DomainError } from '@volant/contract/errors.ts'
import type { EngineEvent } from './events.ts'
import { eventsOf, flow, openBench } from './testing/flow.ts'
import { refusedWith } from './testing/store-suite.ts'

test('after a restart wishes hold, waits go on, and nothing is done twice that was recorded', async (t) => {
  const given = openBench(t)
  given.ports.script['copy'] = () => ({ bytes: 7 })
  given.ports.script['equal'] = () => ({ done: false, progress: 1 })
  const first = await given.engine()
  const { id } = await first.start(flow, { id: '1' })
  await given.called('equal')
  await first.pause(id)
  await first.steer(id, { rate: 5 })
  first.abandon()

  const second = await given.engine()
  assert.ok(second.fence > first.fence)
  const adopted = await second.get(id)
  assert.deepEqual([adopted.owner, adopted.fence, adopted.control.rate], ['engine-2', second.fence, 5])
  let bytes: unknown
  given.ports.script['equal'] = ({ op, out }) => {
    bytes = (out as { copy: { bytes: number } }).copy.bytes
    return { done: op.control.rate === 5 }
  }
  assert.equal((await second.get(id)).state, 'paused')
  await second.resume(id)
  assert.equal((await second.ended(id)).state, 'succeeded')
  assert.equal(bytes, 7, 'outputs come from the log')
  assert.equal(given.ports.calls.filter((call) => call === 'copy').length, 1)
})

test('after a crash in the commit the world is asked', async (t) => {
  const given = openBench(t)
  const first = await given.engine({ inject: [{ at: 'switch', when: 'after', what: 'crash' }] })
  const { id } = await first.start(flow, { id: '1' })
  await first.crashed
  const second = await given.engine()
  assert.equal((await second.ended(id)).state, 'succeeded')
  assert.deepEqual(
    given.ports.calls.slice(3),
    ['switch', 'happened', 'clear', 'note'],
    'it is not done again',
  )
})

test('an engine that was replaced stops at once and writes no more', async (t) => {
  const given = openBench(t)
  const gate = Promise.withResolvers<void>()
  given.ports.script['copy'] = () => gate.promise
  const first = await given.engine()
  const heard: EngineEvent[] = []
  first.onEvent((event) => heard.push(event))
  const { id } = await first.start(flow, { id: '1' })
  await given.called('copy')
  const second = await given.engine()
  gate.resolve()
  assert.equal((await second.ended(id)).state, 'succeeded')
  await until('it has heard so', () => heard.some(({ type }) => type === 'fenced'))
  await assert.rejects(first.start(flow, { id: '2' }), refusedWith('unavailable'))
  const log = await given.store.history({ runId: id })
  assert.equal(log.filter(({ event, step }) => event === 'done' && step === 'copy').length, 1)
})

test('an agent’s staleFence stops the engine; it is no failure of the step', async (t) => {
  const given = openBench(t)
  given.ports.script['copy'] = () => {
    throw new Error('refused', { cause: new DomainError('staleFence', 'fence 1 is old') })
  }
  const executor = await given.engine()
  const fenced = new Promise((resolve) => executor.onEvent(({ type }) => type === 'fenced' && resolve(type)))
  const { id } = await executor.start(flow, { id: '1' })
  await fenced
  assert.equal((await given.store.get(id))?.step, 'copy')
  assert.ok(!given.ports.calls.includes('-copy'))
})

test('an idle engine hears by its heartbeat that it was replaced', async (t) => {
  const given = openBench(t)
  const first = await given.engine({ heartbeatEvery: 1 })
  const fenced = new Promise((resolve) => first.onEvent(({ type }) => type === 'fenced' && resolve(type)))
  const keepAlive = setInterval(() => {}, 1000)
  t.after(() => clearInterval(keepAlive))
  await given.engine()
  await fenced
})

test('a store that fails for a while delays the run and harms nothing', async (t) => {
  const given = openBench(t)
  const executor = await given.engine()
  const record = given.store.record.bind(given.store)
  let failures = 2
  given.store.record = async (params) => {
    if (failures-- > 0) throw new Error('disk full')
    return record(params)
  }
  const { id } = await executor.start(flow, { id: '1' })
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.equal(given.ports.calls.filter((call) => call === 'prepare').length, 1)
})

test('a stop leaves what is under way for the next start, as no failure', async (t) => {
  const given = openBench(t)
  given.ports.script['copy'] = ({ signal }) => sleep(60_000, undefined, { signal })
  const first = await given.engine()
  const { id } = await first.start(flow, { id: '1' })
  await given.called('copy')
  const left = assert.rejects(first.ended(id), refusedWith('unavailable', /goes on after its next start/))
  await first.stop()
  await left
  given.ports.script['copy'] = () => {}
  const second = await given.engine()
  assert.equal((await second.ended(id)).state, 'succeeded')
  assert.ok(!(await eventsOf(given, id)).includes('failed copy'))
})

test('a start-up whose code lacks a running operation refuses, and takes nothing over', async (t) => {
  const given = openBench(t)
  given.ports.script['equal'] = () => ({ done: false })
  const first = await given.engine()
  const { id } = await first.start(flow, { id: '1' })
  await assert.rejects(
    given.engine({ operations: [] }),
    refusedWith('conflict', /no operation 'thing\.move'/),
  )
  assert.equal((await given.store.currentFence())?.fence, first.fence, 'the running engine is not fenced out')
  assert.equal((await first.cancel(id)).state, 'cancelling')
  assert.equal((await first.ended(id)).state, 'cancelled')
})
