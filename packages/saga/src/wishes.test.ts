/** Every wish in every state of a run: fulfilled, or refused with the state and with what is possible. */
import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '@volant/contract/testing/until.ts'
import { isDomainError } from '@volant/contract/errors.ts'
import type { Executor } from './executor.ts'
import { final } from './failure.ts'
import type { RunState } from './types.ts'
import { bench, flow, type Bench, type Flow } from './testing/flow.ts'
import { hurriedPolicy } from './testing/every-step.ts'
import { wishes, type Wish } from './wishes.ts'

interface Place {
  state: RunState
  at: string | null
  /** All that may be asked for; the rest must be refused. */
  possible: Wish[]
  /** Accepted, and changes nothing. */
  repeatable?: Wish[]
  /** Brings the run there, with a wish once this was called. */
  script(ports: Flow): void
  wished?: [after: string, wish: 'pause' | 'cancel']
  /** Time limits so short that what ignores them needs attention. */
  impatient?: boolean
}

const forEver = (): Promise<never> => new Promise(() => {})
const fails = (): never => {
  throw final('it broke')
}
const never = () => ({ done: false })

/** A call that ends when it is told to. */
const obedient = ({ signal }: { signal: AbortSignal }) => sleep(60_000, undefined, { signal })

const places: Record<string, Place> = {
  'a step under way': {
    state: 'running',
    at: 'copy',
    possible: ['pause', 'cancel', 'rate'],
    script: (ports) => void (ports.script['copy'] = obedient),
  },
  'a step under way, to be paused after it': {
    state: 'running',
    at: 'copy',
    possible: ['resume', 'cancel', 'rate'],
    repeatable: ['pause'],
    script: (ports) => void (ports.script['copy'] = obedient),
    wished: ['copy', 'pause'],
  },
  'a wait': {
    state: 'waiting',
    at: 'equal',
    possible: ['pause', 'cancel', 'rate'],
    script: (ports) => void (ports.script['equal'] = never),
  },
  'a paused wait': {
    state: 'paused',
    at: 'equal',
    possible: ['resume', 'cancel', 'rate'],
    repeatable: ['pause'],
    script: (ports) => void (ports.script['equal'] = never),
    wished: ['equal', 'pause'],
  },
  'the commit under way': {
    state: 'running',
    at: 'switch',
    possible: ['pause', 'rate'],
    script: (ports) => void (ports.script['switch'] = forEver),
  },
  'a step after the commit': {
    state: 'running',
    at: 'clear',
    possible: ['pause', 'rate'],
    script: (ports) => void (ports.script['clear'] = forEver),
  },
  'a cancelled run being undone': {
    state: 'cancelling',
    at: 'copy',
    possible: [],
    repeatable: ['cancel'],
    script: (ports) => {
      ports.script['equal'] = never
      ports.script['-copy'] = forEver
    },
    wished: ['equal', 'cancel'],
  },
  'a failed run being undone': {
    state: 'unwinding',
    at: 'copy',
    possible: [],
    script: (ports) => {
      ports.script['equal'] = fails
      ports.script['-copy'] = forEver
    },
  },
  'a step that did not stop when told to': {
    state: 'needs-attention',
    at: 'copy',
    possible: ['resume', 'cancel', 'rate'],
    script: (ports) => void (ports.script['copy'] = forEver),
    impatient: true,
  },
  'an undo that fails and may be left out': {
    state: 'needs-attention',
    at: 'copy',
    possible: ['resume', 'skip'],
    script: (ports) => {
      ports.script['equal'] = fails
      ports.script['-copy'] = fails
    },
  },
  'an undo that fails and may not be left out': {
    state: 'needs-attention',
    at: 'prepare',
    possible: ['resume'],
    script: (ports) => {
      ports.script['equal'] = fails
      ports.script['-prepare'] = fails
    },
  },
  'a commit that nobody can tell of': {
    state: 'needs-attention',
    at: 'switch',
    possible: ['resume', 'rate', 'decide'],
    script: (ports) => {
      ports.script['switch'] = fails
      ports.script['happened'] = fails
    },
  },
  'a commit that did not stop when told to': {
    state: 'needs-attention',
    at: 'switch',
    possible: ['resume', 'rate'],
    script: (ports) => void (ports.script['switch'] = forEver),
    impatient: true,
  },
  'a last step that fails and may be left out': {
    state: 'needs-attention',
    at: 'clear',
    possible: ['resume', 'rate', 'skip'],
    script: (ports) => void (ports.script['clear'] = fails),
  },
  'a last step that fails and may not be left out': {
    state: 'needs-attention',
    at: 'note',
    possible: ['resume', 'rate'],
    script: (ports) => void (ports.script['note'] = fails),
  },
  'a run that succeeded': { state: 'succeeded', at: null, possible: [], script: () => {} },
  'a run that failed': {
    state: 'failed',
    at: null,
    possible: [],
    script: (ports) => void (ports.script['equal'] = fails),
  },
  'a run that was cancelled': {
    state: 'cancelled',
    at: null,
    possible: [],
    script: (ports) => void (ports.script['equal'] = never),
    wished: ['equal', 'cancel'],
  },
}

const ask: Record<Wish, (executor: Executor, id: string) => Promise<unknown>> = {
  pause: (executor, id) => executor.pause(id),
  resume: (executor, id) => executor.resume(id),
  cancel: (executor, id) => executor.cancel(id),
  rate: (executor, id) => executor.steer(id, { rate: 1000 }),
  skip: (executor, id) => executor.skip(id),
  decide: (executor, id) => executor.decideCommit(id, true),
}

/** Each wish gets a run of its own, for one that is fulfilled moves it on. */
async function reach(
  t: TestContext,
  place: Place,
): Promise<{ given: Bench; executor: Executor; id: string }> {
  const given = bench()
  // What does not stop by itself is left alone, as it would be by a killed process.
  t.after(() => executor.abandon())
  place.script(given.ports)
  const impatient = { doTimeout: 5, abortGrace: 5 }
  const executor = await given.engine({
    policy: { ...hurriedPolicy, ...(place.impatient ? impatient : {}) },
  })
  const { id } = await executor.start(flow, { id: '1' })
  if (place.wished !== undefined) {
    const [after, wish] = place.wished
    await given.called(after)
    await ask[wish](executor, id)
  }
  const isThere = async (): Promise<boolean> => {
    const run = await executor.get(id)
    return run.state === place.state && run.step === place.at
  }
  await until(`it is ${place.state} at ${place.at}`, isThere)
  return { given, executor, id }
}

for (const [name, place] of Object.entries(places)) {
  test(`what may be asked of ${name}`, { timeout: 30_000 }, async (t) => {
    for (const wish of wishes) {
      const { executor, id } = await reach(t, place)
      assert.deepEqual(executor.possible(id).wishes, place.possible)
      const before = await executor.get(id)
      const allowed = place.possible.includes(wish) || place.repeatable?.includes(wish) === true
      const answer = await ask[wish](executor, id).then(
        () => null,
        (error: unknown) => error,
      )
      if (allowed) {
        assert.equal(answer, null, `${wish} was refused: ${String(answer)}`)
        continue
      }
      assert.ok(isDomainError(answer) && answer.code === 'conflict', `${wish} of ${name}: ${String(answer)}`)
      assert.ok(answer.message.includes(id) && answer.message.includes(place.state), answer.message)
      for (const other of place.possible) {
        assert.match(answer.message, new RegExp(`Possible now: .*${other}`), 'it says what is possible')
      }
      const after = await executor.get(id)
      assert.deepEqual([after.state, after.control], [before.state, before.control], 'nothing was changed')
    }
  })
}

test('an undo that is skipped is left out, the others are done', async (t) => {
  const place = places['an undo that fails and may be left out']
  assert.ok(place)
  const { given, executor, id } = await reach(t, place)
  assert.equal(executor.possible(id).skip, 'the copy stays behind as a stray')
  await executor.skip(id)
  const run = await executor.ended(id)
  assert.deepEqual([run.state, run.failure?.message], ['failed', 'it broke'])
  assert.equal(given.ports.calls.at(-1), '-prepare')
  const log = await executor.history(id)
  assert.ok(log.some(({ event, step }) => event === 'skipped' && step === 'copy'))
})

test('a commit that a person knows to have happened is not made again, and what follows is done', async (t) => {
  const place = places['a commit that nobody can tell of']
  assert.ok(place)
  const { given, executor, id } = await reach(t, place)
  await executor.decideCommit(id, true)
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.equal(given.ports.calls.filter((call) => call === 'switch').length, 1)
  assert.deepEqual(given.ports.calls.slice(-2), ['clear', 'note'])
})

test('there is no operation of that name', async (t) => {
  const given = bench()
  t.after(() => given.stop())
  const executor = await given.engine()
  for (const wish of wishes) {
    await assert.rejects(
      ask[wish](executor, 'none'),
      (error: unknown) => isDomainError(error) && error.code === 'notFound',
    )
  }
})
