/** How a run goes: its steps, its failures, its commit, its keys. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { until } from '@volant/contract/testing/until.ts'
import { DomainError, isDomainError } from '@volant/contract/errors.ts'
import { final, postponed, retryable } from './failure.ts'
import { bind, operation } from './operation.ts'
import { flow, openBench } from './testing/flow.ts'
import { refusedWith } from './testing/store-suite.ts'

test('a run does its steps in order, shows progress, and hands outputs on', async (t) => {
  const given = openBench(t)
  let looks = 0
  let seen: unknown
  given.ports.script['copy'] = () => ({ bytes: 5 })
  given.ports.script['equal'] = () => ({ done: ++looks === 3, progress: { looks }, again: 1 })
  given.ports.script['clear'] = ({ out }) => {
    seen = out
  }
  const executor = await given.engine()
  const { id, state } = await executor.start(flow, { id: '1' })
  assert.equal(state, 'running')
  const run = await executor.ended(id)
  assert.deepEqual([run.state, run.step, run.progress], ['succeeded', null, { looks: 3 }])
  assert.deepEqual(given.ports.calls, [
    'prepare',
    'copy',
    'equal',
    'equal',
    'equal',
    'switch',
    'clear',
    'note',
  ])
  assert.deepEqual(seen, { prepare: undefined, copy: { bytes: 5 }, switch: { pauseMs: 1 } })
})

test('a run costs one durable write for its start and one for each step', async (t) => {
  const given = openBench(t)
  const executor = await given.engine()
  let writes = 0
  const { createRun, record } = given.store
  given.store.createRun = (params) => (writes++, createRun.call(given.store, params))
  given.store.record = (params) => (writes++, record.call(given.store, params))
  const { id } = await executor.start(flow, { id: '1' })
  await executor.ended(id)
  assert.equal(writes, 1 + flow.nodes.length)
})

test('an error without a class is final: the run unwinds backwards, the step under way included', async (t) => {
  const given = openBench(t)
  given.ports.script['copy'] = () => {
    throw new TypeError('x is not a function')
  }
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  const run = await executor.ended(id)
  assert.equal(run.state, 'failed')
  assert.deepEqual(run.failure, { step: 'copy', class: 'final', code: null, message: 'x is not a function' })
  assert.deepEqual(given.ports.calls, ['prepare', 'copy', '-copy', '-prepare'])
})

test('what may work the next time is tried again, a bounded number of times', async (t) => {
  const given = openBench(t)
  given.ports.script['copy'] = () => {
    throw new DomainError('unavailable', 'the node does not answer')
  }
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  assert.equal((await executor.ended(id)).state, 'failed')
  assert.equal(given.ports.calls.filter((call) => call === 'copy').length, 3)
  const failures = (await executor.history(id)).filter(({ event }) => event === 'failed')
  assert.deepEqual(
    failures.map(({ attempt, decision }) => [attempt, decision]),
    [
      [1, 'retry'],
      [2, 'retry'],
      [3, 'unwind'],
    ],
  )
  assert.equal(failures[0]?.failure?.message, 'the node does not answer')
})

test('a commit that backed out goes back to its wait, with each reason on record, until its attempts are used up', async (t) => {
  const given = openBench(t)
  let tries = 0
  given.ports.script['switch'] = () => {
    throw retryable(`window over, try ${++tries}`)
  }
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  const run = await executor.ended(id)
  assert.equal(run.state, 'failed')
  assert.equal(run.failure?.message, 'window over, try 3')
  const again = ['equal', 'switch', 'happened']
  assert.deepEqual(given.ports.calls, ['prepare', 'copy', ...again, ...again, ...again, '-copy', '-prepare'])
  const reasons = (await executor.history(id)).filter(({ event }) => event === 'not-happened')
  assert.deepEqual(
    reasons.map(({ failure, to }) => [failure?.message, to]),
    [
      ['window over, try 1', 'equal'],
      ['window over, try 2', 'equal'],
      ['window over, try 3', undefined],
    ],
  )
})

test('a commit that was postponed goes back to its wait, as often as that is, and uses no attempt up', async (t) => {
  const given = openBench(t)
  let tries = 0
  given.ports.script['switch'] = () => {
    tries += 1
    if (tries <= 5) throw postponed('it is held')
    throw retryable(`window over, try ${tries - 5}`)
  }
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  const run = await executor.ended(id)
  assert.deepEqual([run.state, run.failure?.message], ['failed', 'window over, try 3'])
  assert.equal(given.ports.calls.filter((call) => call === 'equal').length, 8)
})

test('a commit that failed and nevertheless happened goes on', async (t) => {
  const given = openBench(t)
  given.ports.script['switch'] = ({ ports }) => {
    ports.happened = true
    throw final('the connection broke')
  }
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.deepEqual(given.ports.calls.slice(-4), ['switch', 'happened', 'clear', 'note'])
})

test('a fault of a declaration needs attention, and is not stood over in silence', async (t) => {
  const given = openBench(t)
  let broken = true
  const faulty = operation<{ id: string }, object>('faulty.do', { version: 1 })
    .holds(({ id }) => [`thing/${id}`])
    .commit('switch', {
      do: () => {
        throw retryable('not now')
      },
      happened: () => !broken,
      attempts: () => {
        if (broken) throw new TypeError('x is not a function')
        return 2
      },
    })
  const executor = await given.engine({ operations: [bind(faulty, {})] })
  const { id } = await executor.start(faulty, { id: '1' })
  const run = await executor.ended(id)
  assert.deepEqual(
    [run.state, run.step, run.failure?.message],
    ['needs-attention', 'switch', "Volant's own fault: x is not a function"],
  )
  broken = false
  await executor.resume(id)
  assert.equal((await executor.ended(id)).state, 'succeeded')
})

test('the second run on the same key is refused, with the name of the first', async (t) => {
  const given = openBench(t)
  given.ports.script['equal'] = () => ({ done: false })
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  await assert.rejects(executor.start(flow, { id: '1' }), (error: unknown) => {
    assert.ok(
      refusedWith('conflict', new RegExp(`thing/1 is in use by operation ${id} \\(thing\\.move\\)`))(error),
    )
    assert.ok(isDomainError(error))
    assert.deepEqual(error.detail, { key: 'thing/1', runId: id, kind: 'thing.move' })
    return true
  })
  await executor.start(flow, { id: '2' })
  await executor.cancel(id)
  assert.equal((await executor.ended(id)).state, 'cancelled')
  await executor.start(flow, { id: '1' })
})

test('only what is registered can be started', async (t) => {
  const executor = await openBench(t).engine()
  const other = operation<object, object>('other.do', { version: 1 })
    .holds(() => [])
    .step('a', { do: () => {}, undo: () => {} })
  await assert.rejects(executor.start(other, {}), /'other\.do' version 1 is not registered/)
})

test('a step sees an output as it would after a crash', async (t) => {
  const given = openBench(t)
  let seen: unknown
  given.ports.script['copy'] = () => ({ bytes: 1, dropped: undefined, at: new Date(0) })
  given.ports.script['clear'] = ({ out }) => {
    seen = (out as { copy: unknown }).copy
  }
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  await executor.ended(id)
  assert.deepEqual(seen, { bytes: 1, at: '1970-01-01T00:00:00.000Z' })
})

test('progress is stored now and then, and with the next write', async (t) => {
  const given = openBench(t)
  given.ports.script['equal'] = () => ({ done: false, progress: { percent: 40 } })
  const executor = await given.engine({ progressEvery: 5 })
  const { id } = await executor.start(flow, { id: '1' })
  await until('it is stored', async () => (await given.store.get(id))?.progress !== null)
  assert.deepEqual((await given.store.get(id))?.progress, { percent: 40 })
  given.ports.script['equal'] = () => ({ done: true, progress: { percent: 100 } })
  await executor.ended(id)
  assert.deepEqual((await given.store.get(id))?.progress, { percent: 100 })
})
