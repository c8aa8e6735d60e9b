/** The way back through a wait, carried out: in its order, over failures, bounds, crashes, and an operator's wishes. */
import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { until } from '@volant/contract/testing/until.ts'
import { isDomainError } from '@volant/contract/errors.ts'
import { Executor, type ExecutorOptions } from './executor.ts'
import { final } from './failure.ts'
import { MemoryStore } from './memory-store.ts'
import { bind, operation, type AdvancingLook, type Context } from './operation.ts'
import { hurriedPolicy } from './testing/every-step.ts'
import { eventsOf } from './testing/flow.ts'

/** What each place does, and everything that was called. */
class Trip {
  readonly calls: string[] = []
  readonly script: Record<string, (context: Context<object, Trip, unknown>) => unknown> = {}

  async call(name: string, context: Context<object, Trip, unknown>): Promise<unknown> {
    this.calls.push(name)
    return await this.script[name]?.(context)
  }

  async look(name: string, context: Context<object, Trip, unknown>): Promise<AdvancingLook> {
    const seen = (await this.call(name, context)) as Partial<AdvancingLook> | undefined
    return { done: true, advance: 0, ...seen }
  }
}

/** prepare, [moved], count, SWITCH. */
const trip = operation<object, Trip>('things.move', { version: 1 })
  .holds(() => ['things'])
  .step('prepare', {
    do: async (context) => {
      await context.ports.call('prepare', context)
      return { room: 7 }
    },
    undo: async (context) => void (await context.ports.call('-prepare', context)),
  })
  .wait('moved', {
    every: '1h',
    timeout: '10h',
    until: (context) => context.ports.look('moved', context),
    back: {
      every: '1h',
      stallTimeout: '2h',
      until: (context) => context.ports.look('-moved', context),
    },
  })
  .step('count', {
    do: async (context) => void (await context.ports.call('count', context)),
    undo: async (context) => void (await context.ports.call('-count', context)),
  })
  .commit('switch', {
    do: async (context) => void (await context.ports.call('switch', context)),
    happened: () => false,
    retryFrom: 'moved',
    attempts: 1,
  })

function begin(t: TestContext) {
  const store = new MemoryStore()
  const ports = new Trip()
  const executors: Executor[] = []
  t.after(() => Promise.all(executors.map((executor) => executor.stop())))
  const engine = async (options: Partial<ExecutorOptions> = {}): Promise<Executor> => {
    const operations = [bind(trip, ports)]
    const owner = `engine-${executors.length}`
    const executor = new Executor({ store, owner, operations, policy: hurriedPolicy, ...options })
    executors.push(executor)
    await executor.begin()
    return executor
  }
  const called = (name: string, times = 1): Promise<void> =>
    until(
      `${name} is called ${times} times`,
      () => ports.calls.filter((call) => call === name).length >= times,
    )
  const events = (id: string): Promise<string[]> => eventsOf({ store }, id)
  return { store, ports, engine, called, events }
}

const bounded = { timeout: 20_000 }
const never = () => ({ done: false })
const broken = (): never => {
  throw final('it broke')
}

test(
  'a run that stood in the wait goes back through it, and then undoes the earlier steps',
  bounded,
  async (t) => {
    const { ports, engine, called, events } = begin(t)
    ports.script['moved'] = never
    let left = 3
    const seen: unknown[] = []
    ports.script['-moved'] = ({ out, op }) => {
      seen.push(out, op.control.paused)
      return { done: --left === 0, advance: left, progress: { left }, again: 1 }
    }
    const executor = await engine()
    const { id } = await executor.start(trip, {})
    await called('moved')
    await executor.pause(id)
    await executor.cancel(id)
    const run = await executor.ended(id)
    assert.deepEqual([run.state, run.progress], ['cancelled', { left: 0 }])
    assert.deepEqual(
      ports.calls.filter((call) => call !== 'moved'),
      ['prepare', '-moved', '-moved', '-moved', '-prepare'],
    )
    assert.deepEqual(
      seen.slice(0, 2),
      [{ prepare: { room: 7 } }, false],
      'earlier outputs; and it is not paused',
    )
    assert.deepEqual((await events(id)).slice(-4), [
      'cancelled moved',
      'undone moved',
      'undone prepare',
      'ended',
    ])
  },
)

test('a commit that is given up unwinds through the wait, too: later steps first', bounded, async (t) => {
  const { ports, engine } = begin(t)
  ports.script['switch'] = broken
  const executor = await engine()
  const { id } = await executor.start(trip, {})
  assert.equal((await executor.ended(id)).state, 'failed')
  assert.deepEqual(ports.calls.slice(-4), ['switch', '-count', '-moved', '-prepare'])
})

test('a crash on the way back goes on there; what was undone is not undone again', bounded, async (t) => {
  const { ports, engine, called } = begin(t)
  ports.script['switch'] = broken
  ports.script['-moved'] = never
  const first = await engine()
  const { id } = await first.start(trip, {})
  await called('-moved')
  first.abandon()
  const before = ports.calls.length
  ports.script['-moved'] = () => ({ done: true })
  const second = await engine()
  assert.equal((await second.ended(id)).state, 'failed')
  assert.deepEqual(ports.calls.slice(before), ['-moved', '-prepare'])
})

test('a look back that keeps failing needs attention, is not skipped, and is resumed', bounded, async (t) => {
  const { ports, engine } = begin(t)
  ports.script['switch'] = broken
  ports.script['-moved'] = broken
  const executor = await engine()
  const { id } = await executor.start(trip, {})
  const stuck = await executor.ended(id)
  assert.deepEqual(
    [stuck.state, stuck.step, stuck.failure?.message],
    ['needs-attention', 'moved', 'it broke'],
  )
  assert.equal(ports.calls.filter((call) => call === '-moved').length, hurriedPolicy.undo.attempts)
  assert.ok(!ports.calls.includes('-prepare'), 'nothing earlier is undone before')
  assert.deepEqual(executor.possible(id), { wishes: ['resume', 'rate'], skip: null })
  await assert.rejects(executor.skip(id), (error) => isDomainError(error) && error.code === 'conflict')
  ports.script['-moved'] = () => ({ done: true })
  await executor.resume(id)
  const run = await executor.ended(id)
  assert.deepEqual([run.state, run.failure?.step], ['failed', 'switch'], 'the first failure is not forgotten')
})

test(
  'a way back that stands still needs attention; resume gives it its whole time again',
  bounded,
  async (t) => {
    const { ports, engine } = begin(t)
    const hour = 3_600_000
    let passed = 0
    const clock = { wall: () => Date.now() + passed, monotonic: () => performance.now() + passed }
    ports.script['switch'] = broken
    let advance = 0
    ports.script['-moved'] = () => {
      passed += hour
      return { done: false, advance: Math.min(++advance, 4) }
    }
    const executor = await engine({ clock })
    const { id } = await executor.start(trip, {})
    const stuck = await executor.ended(id)
    assert.equal(stuck.failure?.message, 'moved (on the way back) made no progress for 2 h')
    assert.equal(advance, 6, 'four looks that advanced, two hours without')
    let looks = 0
    ports.script['-moved'] = () => {
      passed += hour
      return { done: ++looks === 2, advance: 4 }
    }
    await executor.resume(id)
    assert.equal((await executor.ended(id)).state, 'failed')
    assert.equal(looks, 2)
  },
)

test('looks that fail now and then are no reason to stop', bounded, async (t) => {
  const { ports, engine } = begin(t)
  ports.script['switch'] = broken
  let looks = 0
  ports.script['-moved'] = () => (++looks % 2 === 0 ? broken() : { done: looks > 20 })
  const executor = await engine()
  const { id } = await executor.start(trip, {})
  assert.equal((await executor.ended(id)).state, 'failed')
  assert.equal(looks, 21)
})

test(
  'the first look back is at once, whenever the wait that was given up was to be looked at',
  bounded,
  async (t) => {
    const { ports, engine } = begin(t)
    const almostTenHours = 36_000_000 - 50
    let passed = 0
    const clock = { wall: () => Date.now() + passed, monotonic: () => performance.now() + passed }
    ports.script['moved'] = () => {
      passed = almostTenHours
      return { done: false, again: '1h' }
    }
    const executor = await engine({ clock, policy: { ...hurriedPolicy, longestCheckInterval: '1h' } })
    const { id } = await executor.start(trip, {})
    const run = await executor.ended(id)
    assert.equal(run.failure?.message, 'moved did not come true within 10 h')
    assert.deepEqual(ports.calls, ['prepare', 'moved', '-moved', '-prepare'])
  },
)

test('a wake looks back at once', bounded, async (t) => {
  const { ports, engine, called } = begin(t)
  ports.script['switch'] = broken
  ports.script['-moved'] = never
  const executor = await engine({ policy: { ...hurriedPolicy, longestCheckInterval: '1h' } })
  const { id } = await executor.start(trip, {})
  await called('-moved')
  ports.script['-moved'] = () => ({ done: true })
  executor.wake(id)
  assert.equal((await executor.ended(id)).state, 'failed')
})

test('the rate may be changed on the way back, for things may be copied there', bounded, async (t) => {
  const { ports, engine, called } = begin(t)
  ports.script['switch'] = broken
  const rates: (number | null)[] = []
  ports.script['-moved'] = ({ op }) => {
    rates.push(op.control.rate)
    return { done: op.control.rate !== null }
  }
  const executor = await engine()
  const { id } = await executor.start(trip, {})
  await called('-moved')
  assert.deepEqual(executor.possible(id).wishes, ['rate'])
  await executor.steer(id, { rate: 4096 })
  assert.equal((await executor.ended(id)).state, 'failed')
  assert.deepEqual([rates[0], rates.at(-1)], [null, 4096])
})
