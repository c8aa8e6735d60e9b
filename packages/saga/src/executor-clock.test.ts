/** A clock that is set by hours while the engine runs, or between two of its lives; and bounds of waits. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { until } from '@volant/contract/testing/until.ts'
import type { ClockSource } from './clock.ts'
import { retryable } from './failure.ts'
import { flow, openBench } from './testing/flow.ts'
import { hurriedPolicy } from './testing/every-step.ts'

const hour = 3_600_000

/** The machine's clocks; `set` sets the wall's, `pass` lets time pass on both. */
class SetClock implements ClockSource {
  #set = 0
  #passed = 0
  readonly wall = (): number => Date.now() + this.#set + this.#passed
  readonly monotonic = (): number => performance.now() + this.#passed
  set(ms: number): void {
    this.#set += ms
  }
  pass(ms: number): void {
    this.#passed += ms
  }
}

const bounded = { timeout: 20_000 }

for (const [direction, jump] of [
  ['forwards', 12 * hour],
  ['backwards', -12 * hour],
] as const) {
  test(`a clock that is set ${direction} by hours ends no wait and delays no look`, bounded, async (t) => {
    const given = openBench(t)
    const clock = new SetClock()
    let looks = 0
    given.ports.script['equal'] = () => {
      if (++looks === 2) clock.set(jump)
      return { done: looks === 5 }
    }
    const executor = await given.engine({ clock })
    const { id } = await executor.start(flow, { id: '1' })
    assert.equal((await executor.ended(id)).state, 'succeeded')
    assert.equal(looks, 5)
  })

  test(`a clock that is set ${direction} by hours delays no further attempt`, bounded, async (t) => {
    const given = openBench(t)
    const clock = new SetClock()
    let tries = 0
    given.ports.script['copy'] = () => {
      if (++tries === 2) return
      // Set when the pause before the next attempt has been decided.
      setTimeout(() => clock.set(jump), 1)
      throw retryable('not yet')
    }
    const executor = await given.engine({
      clock,
      policy: { ...hurriedPolicy, longestBackoff: '1h', step: { attempts: 3, backoff: '100ms' } },
    })
    const { id } = await executor.start(flow, { id: '1' })
    assert.equal((await executor.ended(id)).state, 'succeeded')
    assert.equal(tries, 2)
    const [failed] = (await executor.history(id)).filter(({ event }) => event === 'failed')
    const done = (await executor.history(id)).find(({ event, step }) => event === 'done' && step === 'copy')
    const shown = Date.parse(done?.at ?? '') - Date.parse(failed?.at ?? '')
    assert.ok(Math.abs(shown - jump) < hour, 'the log shows the wall’s time')
  })
}

test(
  'an attempt that an earlier clock put off by hours is made after the longest back-off',
  bounded,
  async (t) => {
    const given = openBench(t)
    const ahead = new SetClock()
    ahead.set(12 * hour)
    given.ports.script['copy'] = () => {
      throw retryable('not yet')
    }
    const policy = { ...hurriedPolicy, step: { attempts: 3, backoff: '1m' }, longestBackoff: '1m' } as const
    const first = await given.engine({ clock: ahead, policy })
    const { id } = await first.start(flow, { id: '1' })
    const failed = async () =>
      (await given.store.history({ runId: id })).some(({ event }) => event === 'failed')
    await until('an attempt has failed', failed)
    first.abandon()
    given.ports.script['copy'] = () => {}
    const second = await given.engine()
    assert.equal((await second.ended(id)).state, 'succeeded')
  },
)

test(
  'the time of a wait is counted anew after a restart, for nobody knows what the clock did',
  bounded,
  async (t) => {
    const given = openBench(t)
    given.ports.script['equal'] = () => ({ done: false })
    const first = await given.engine()
    const { id } = await first.start(flow, { id: '1' })
    await given.called('equal')
    first.abandon()
    const ahead = new SetClock()
    ahead.set(12 * hour)
    let looks = 0
    given.ports.script['equal'] = () => ({ done: ++looks === 3 })
    const second = await given.engine({ clock: ahead })
    assert.equal((await second.ended(id)).state, 'succeeded')
  },
)

test('a wait goes on for as long as it advances, and ends when it stands still', bounded, async (t) => {
  const given = openBench(t)
  const clock = new SetClock()
  let looks = 0
  given.ports.script['equal'] = () => {
    clock.pass(hour)
    return { done: false, advance: Math.min(++looks, 6) }
  }
  const executor = await given.engine({ clock })
  const { id } = await executor.start(flow, { id: '1' })
  const run = await executor.ended(id)
  assert.equal(run.state, 'failed')
  assert.equal(run.failure?.message, 'equal made no progress for 2 h')
  assert.equal(looks, 8, 'six looks that advanced, two hours without')
  assert.deepEqual(given.ports.calls.slice(-2), ['-copy', '-prepare'])
})

test('a wait that advances for ever ends when its time in all is over', bounded, async (t) => {
  const given = openBench(t)
  const clock = new SetClock()
  let looks = 0
  given.ports.script['equal'] = () => {
    clock.pass(hour)
    return { done: false, advance: ++looks }
  }
  const executor = await given.engine({ clock })
  const { id } = await executor.start(flow, { id: '1' })
  const run = await executor.ended(id)
  assert.equal(run.failure?.message, 'equal did not come true within 10 h')
})
