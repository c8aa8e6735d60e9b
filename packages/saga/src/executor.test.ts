import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError, isDomainError } from '@volant/contract/errors.ts'
import { final, postponed, retryable } from './failure.ts'
import { bind, operation } from './operation.ts'
import type { EngineEvent } from './events.ts'
import { bench, flow, type Bench } from './testing/flow.ts'
import { hurriedPolicy } from './testing/every-step.ts'
import { refusedWith } from './testing/store-suite.ts'

function begin(t: TestContext): Bench {
  const made = bench()
  t.after(() => made.stop())
  return made
}

const events = async (given: Bench, id: string): Promise<string[]> =>
  (await given.store.history({ runId: id })).map(({ event, step }) =>
    step === null ? event : `${event} ${step}`,
  )

test('a run does its steps in order, shows progress, and hands outputs on', async (t) => {
  const given = begin(t)
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
  const given = begin(t)
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
  const given = begin(t)
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
  const given = begin(t)
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
  const given = begin(t)
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
  const given = begin(t)
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
  const given = begin(t)
  given.ports.script['switch'] = ({ ports }) => {
    ports.happened = true
    throw final('the connection broke')
  }
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.deepEqual(given.ports.calls.slice(-4), ['switch', 'happened', 'clear', 'note'])
})

test('when nobody can say whether the commit happened, a person is called, and may decide', async (t) => {
  const given = begin(t)
  given.ports.script['switch'] = () => {
    throw final('the connection broke')
  }
  given.ports.script['happened'] = () => {
    throw new Error('the record does not answer')
  }
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  const run = await executor.ended(id)
  assert.deepEqual([run.state, run.failure?.message], ['needs-attention', 'the record does not answer'])
  await assert.rejects(executor.cancel(id), refusedWith('conflict'))
  await assert.rejects(executor.skip(id), refusedWith('conflict', /say whether it happened/))
  await executor.decideCommit(id, false)
  assert.equal((await executor.ended(id)).state, 'failed')
})

test('a fault of a declaration needs attention, and is not stood over in silence', async (t) => {
  const given = begin(t)
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
  const given = begin(t)
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

test('a cancel stops the step under way by its signal and unwinds', async (t) => {
  const given = begin(t)
  given.ports.script['copy'] = ({ signal }) => sleep(60_000, undefined, { signal })
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  while (!given.ports.calls.includes('copy')) await sleep(1)
  assert.equal((await executor.cancel(id)).state, 'cancelling')
  const run = await executor.ended(id)
  assert.deepEqual([run.state, run.failure], ['cancelled', null])
  assert.deepEqual(given.ports.calls, ['prepare', 'copy', '-copy', '-prepare'])
  await assert.rejects(executor.cancel(id), refusedWith('conflict', /has ended: it is cancelled/))
})

test('from the start of the commit on a cancel is refused, with the place and the state', async (t) => {
  const given = begin(t)
  const gate = Promise.withResolvers<void>()
  given.ports.script['switch'] = () => gate.promise
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  while (!given.ports.calls.includes('switch')) await sleep(1)
  await assert.rejects(
    executor.cancel(id),
    refusedWith('conflict', /is running at 'switch': it can be undone no more/),
  )
  gate.resolve()
  assert.equal((await executor.ended(id)).state, 'succeeded')
})

test('a cancel that was promised just before the commit is kept', async (t) => {
  const given = begin(t)
  const executor = await given.engine()
  const record = given.store.record.bind(given.store)
  let id = ''
  let promised = false
  given.store.record = async (params) => {
    // The operator is quicker than the write that begins the commit.
    if (params.unlessCancelled && !promised) {
      promised = true
      await executor.cancel(id)
    }
    return record(params)
  }
  id = (await executor.start(flow, { id: '1' })).id
  assert.equal((await executor.ended(id)).state, 'cancelled')
  assert.ok(promised)
  assert.ok((await events(given, id)).includes('done equal'), 'what was done before stays on record')
  assert.ok(!given.ports.calls.includes('switch'))
})

test('a pause holds the run between steps and in a wait, where it can be acted upon', async (t) => {
  const given = begin(t)
  const seen: [boolean, number | null][] = []
  given.ports.script['copy'] = async ({ op }) => {
    await executor.pause(op.id)
  }
  given.ports.script['equal'] = ({ op: { control } }) => {
    // It looks every few milliseconds.
    const last = seen.at(-1)
    if (last?.[0] !== control.paused || last[1] !== control.rate) seen.push([control.paused, control.rate])
    return { done: true }
  }
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  while (seen.length === 0) await sleep(1)
  assert.equal((await executor.get(id)).state, 'paused')
  await executor.steer(id, { rate: 1_000_000 })
  while (seen.length < 2) await sleep(1)
  assert.ok(!given.ports.calls.includes('switch'), 'a paused wait does not pass')
  await executor.resume(id)
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.deepEqual(seen, [
    [true, null],
    [true, 1_000_000],
    [false, 1_000_000],
  ])
  await assert.rejects(executor.steer(id, { rate: 0 }), refusedWith('invalid'))
})

test('a wait is looked at again at once when it is woken', async (t) => {
  const given = begin(t)
  let ready = false
  given.ports.script['equal'] = () => ({ done: ready })
  const executor = await given.engine({ policy: { longestCheckInterval: '1h' } })
  const { id } = await executor.start(flow, { id: '1' })
  while (!given.ports.calls.includes('equal')) await sleep(1)
  ready = true
  executor.wake(id)
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.equal(given.ports.calls.filter((call) => call === 'equal').length, 2)
})

test('after a restart wishes hold, waits go on, and nothing is done twice that was recorded', async (t) => {
  const given = begin(t)
  given.ports.script['copy'] = () => ({ bytes: 7 })
  given.ports.script['equal'] = () => ({ done: false, progress: 1 })
  const first = await given.engine()
  const { id } = await first.start(flow, { id: '1' })
  while (!given.ports.calls.includes('equal')) await sleep(1)
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
  const given = begin(t)
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

test('a step after the commit that keeps failing needs attention; resume, or skip, goes on', async (t) => {
  const given = begin(t)
  given.ports.script['clear'] = () => {
    throw final('still mounted')
  }
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  const run = await executor.ended(id)
  assert.deepEqual([run.state, run.step, run.failure?.message], ['needs-attention', 'clear', 'still mounted'])
  assert.ok(!given.ports.calls.includes('-copy'), 'never unwound')
  assert.ok(await given.store.holderOf('thing/1'), 'the key is held')
  await executor.resume(id)
  assert.equal((await executor.ended(id)).state, 'needs-attention')
  assert.equal(given.ports.calls.filter((call) => call === 'clear').length, 6)
  await executor.skip(id)
  const ended = await executor.ended(id)
  assert.deepEqual([ended.state, ended.failure], ['succeeded', null])
  assert.ok((await events(given, id)).includes('skipped clear'))
})

test('an undo that keeps failing needs attention, and the first failure is not forgotten', async (t) => {
  const given = begin(t)
  given.ports.script['copy'] = () => {
    throw final('no room')
  }
  given.ports.script['-copy'] = () => {
    throw final('node is down')
  }
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  const run = await executor.ended(id)
  assert.deepEqual([run.state, run.failure?.message], ['needs-attention', 'node is down'])
  given.ports.script['-copy'] = () => {}
  await executor.resume(id)
  const ended = await executor.ended(id)
  assert.deepEqual([ended.state, ended.failure?.message], ['failed', 'no room'])
})

test('an undo that keeps failing needs attention also where a wait was given up whose looks succeeded', async (t) => {
  const given = begin(t)
  given.ports.script['equal'] = () => ({ done: false })
  given.ports.script['-copy'] = () => {
    throw final('node is down')
  }
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  while (!given.ports.calls.includes('equal')) await sleep(1)
  await executor.cancel(id)
  const run = await executor.ended(id)
  assert.deepEqual([run.state, run.step, run.failure?.message], ['needs-attention', 'copy', 'node is down'])
  assert.equal(
    given.ports.calls.filter((call) => call === '-copy').length,
    3,
    'as often as the policy has it',
  )
})

test('a call that ignores its time limit and its signal needs attention; nothing runs beside it', async (t) => {
  const given = begin(t)
  const gate = Promise.withResolvers<void>()
  given.ports.script['copy'] = () => gate.promise
  const executor = await given.engine({ policy: { doTimeout: 5, abortGrace: 5 } })
  const { id } = await executor.start(flow, { id: '1' })
  const run = await executor.ended(id)
  assert.equal(run.state, 'needs-attention')
  assert.match(run.failure?.message ?? '', /copy was told to stop and is still running/)
  assert.deepEqual(given.ports.calls, ['prepare', 'copy'])
  gate.resolve()
  await executor.cancel(id)
  assert.equal((await executor.ended(id)).state, 'cancelled')
})

test('an engine that was replaced stops at once and writes no more', async (t) => {
  const given = begin(t)
  const gate = Promise.withResolvers<void>()
  given.ports.script['copy'] = () => gate.promise
  const first = await given.engine()
  const heard: EngineEvent[] = []
  first.onEvent((event) => heard.push(event))
  const { id } = await first.start(flow, { id: '1' })
  while (!given.ports.calls.includes('copy')) await sleep(1)
  const second = await given.engine()
  gate.resolve()
  assert.equal((await second.ended(id)).state, 'succeeded')
  while (!heard.some(({ type }) => type === 'fenced')) await sleep(1)
  await assert.rejects(first.start(flow, { id: '2' }), refusedWith('unavailable'))
  const log = await given.store.history({ runId: id })
  assert.equal(log.filter(({ event, step }) => event === 'done' && step === 'copy').length, 1)
})

test('an agent’s staleFence stops the engine; it is no failure of the step', async (t) => {
  const given = begin(t)
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
  const given = begin(t)
  const first = await given.engine({ heartbeatEvery: 1 })
  const fenced = new Promise((resolve) => first.onEvent(({ type }) => type === 'fenced' && resolve(type)))
  const keepAlive = setInterval(() => {}, 1000)
  t.after(() => clearInterval(keepAlive))
  await given.engine()
  await fenced
})

test('a store that fails for a while delays the run and harms nothing', async (t) => {
  const given = begin(t)
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
  const given = begin(t)
  given.ports.script['copy'] = ({ signal }) => sleep(60_000, undefined, { signal })
  const first = await given.engine()
  const { id } = await first.start(flow, { id: '1' })
  while (!given.ports.calls.includes('copy')) await sleep(1)
  const left = assert.rejects(first.ended(id), refusedWith('unavailable', /goes on after its next start/))
  await first.stop()
  await left
  given.ports.script['copy'] = () => {}
  const second = await given.engine()
  assert.equal((await second.ended(id)).state, 'succeeded')
  assert.ok(!(await events(given, id)).includes('failed copy'))
})

test('a start-up whose code lacks a running operation refuses, and takes nothing over', async (t) => {
  const given = begin(t)
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

test('only what is registered can be started', async (t) => {
  const executor = await begin(t).engine()
  const other = operation<object, object>('other.do', { version: 1 })
    .holds(() => [])
    .step('a', { do: () => {}, undo: () => {} })
  await assert.rejects(executor.start(other, {}), /'other\.do' version 1 is not registered/)
})

test('an operator’s decision is never slept over, whatever wakes the run at the same moment', async (t) => {
  const given = begin(t)
  given.ports.script['clear'] = () => {
    throw final('still mounted')
  }
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  await executor.ended(id)
  for (let delay = 0; delay < 40; delay++) {
    const resumed = executor.resume(id)
    for (let i = 0; i < delay; i++) await Promise.resolve()
    executor.wake(id)
    await resumed
    assert.equal((await executor.ended(id)).state, 'needs-attention')
  }
})

test('a step sees an output as it would after a crash', async (t) => {
  const given = begin(t)
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
  const given = begin(t)
  given.ports.script['equal'] = () => ({ done: false, progress: { percent: 40 } })
  const executor = await given.engine({ progressEvery: 5 })
  const { id } = await executor.start(flow, { id: '1' })
  while ((await given.store.get(id))?.progress === null) await sleep(2)
  assert.deepEqual((await given.store.get(id))?.progress, { percent: 40 })
  given.ports.script['equal'] = () => ({ done: true, progress: { percent: 100 } })
  await executor.ended(id)
  assert.deepEqual((await given.store.get(id))?.progress, { percent: 100 })
})

test('a wake that comes while a wait is being looked at is not lost', async (t) => {
  const given = begin(t)
  let looks = 0
  given.ports.script['equal'] = ({ op }) => {
    if (++looks === 1) executor.wake(op.id)
    return { done: looks === 2 }
  }
  const executor = await given.engine({ policy: { ...hurriedPolicy, longestCheckInterval: '1h' } })
  const { id } = await executor.start(flow, { id: '1' })
  assert.equal((await executor.ended(id)).state, 'succeeded')
})
