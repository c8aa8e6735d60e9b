/** What an operator may ask of a run, and what one that needs attention is told. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '@volant/contract/testing/until.ts'
import { final } from './failure.ts'
import { eventsOf, flow, openBench } from './testing/flow.ts'
import { hurriedPolicy } from './testing/every-step.ts'
import { refusedWith } from './testing/store-suite.ts'

test('when nobody can say whether the commit happened, a person is called, and may decide', async (t) => {
  const given = openBench(t)
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

test('a cancel stops the step under way by its signal and unwinds', async (t) => {
  const given = openBench(t)
  given.ports.script['copy'] = ({ signal }) => sleep(60_000, undefined, { signal })
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  await given.called('copy')
  assert.equal((await executor.cancel(id)).state, 'cancelling')
  const run = await executor.ended(id)
  assert.deepEqual([run.state, run.failure], ['cancelled', null])
  assert.deepEqual(given.ports.calls, ['prepare', 'copy', '-copy', '-prepare'])
  await assert.rejects(executor.cancel(id), refusedWith('conflict', /has ended: it is cancelled/))
})

test('from the start of the commit on a cancel is refused, with the place and the state', async (t) => {
  const given = openBench(t)
  const gate = Promise.withResolvers<void>()
  given.ports.script['switch'] = () => gate.promise
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  await given.called('switch')
  await assert.rejects(
    executor.cancel(id),
    refusedWith('conflict', /is running at 'switch': it can be undone no more/),
  )
  gate.resolve()
  assert.equal((await executor.ended(id)).state, 'succeeded')
})

test('a cancel that was promised just before the commit is kept', async (t) => {
  const given = openBench(t)
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
  assert.ok((await eventsOf(given, id)).includes('done equal'), 'what was done before stays on record')
  assert.ok(!given.ports.calls.includes('switch'))
})

test('a pause holds the run between steps and in a wait, where it can be acted upon', async (t) => {
  const given = openBench(t)
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
  await until('it waits', () => seen.length > 0)
  assert.equal((await executor.get(id)).state, 'paused')
  await executor.steer(id, { rate: 1_000_000 })
  await until('it has the rate', () => seen.length > 1)
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
  const given = openBench(t)
  let ready = false
  given.ports.script['equal'] = () => ({ done: ready })
  const executor = await given.engine({ policy: { longestCheckInterval: '1h' } })
  const { id } = await executor.start(flow, { id: '1' })
  await given.called('equal')
  ready = true
  executor.wake(id)
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.equal(given.ports.calls.filter((call) => call === 'equal').length, 2)
})

test('a step after the commit that keeps failing needs attention; resume, or skip, goes on', async (t) => {
  const given = openBench(t)
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
  assert.ok((await eventsOf(given, id)).includes('skipped clear'))
})

test('an undo that keeps failing needs attention, and the first failure is not forgotten', async (t) => {
  const given = openBench(t)
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
  const given = openBench(t)
  given.ports.script['equal'] = () => ({ done: false })
  given.ports.script['-copy'] = () => {
    throw final('node is down')
  }
  const executor = await given.engine()
  const { id } = await executor.start(flow, { id: '1' })
  await given.called('equal')
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
  const given = openBench(t)
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

test('an operator’s decision is never slept over, whatever wakes the run at the same moment', async (t) => {
  const given = openBench(t)
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

test('a wake that comes while a wait is being looked at is not lost', async (t) => {
  const given = openBench(t)
  let looks = 0
  given.ports.script['equal'] = ({ op }) => {
    if (++looks === 1) executor.wake(op.id)
    return { done: looks === 2 }
  }
  const executor = await given.engine({ policy: { ...hurriedPolicy, longestCheckInterval: '1h' } })
  const { id } = await executor.start(flow, { id: '1' })
  assert.equal((await executor.ended(id)).state, 'succeeded')
})
