import assert from 'node:assert/strict'
import test from 'node:test'
import { judgeFailed, judgeNotHappened, type Case } from './judge.ts'
import { final, retryable, classify, unknown } from './failure.ts'
import { operation, type CommitNode } from './operation.ts'
import { plan, settle, type Fact } from './plan.ts'
import { defaultPolicy } from './policy.ts'
import { apply, startPosition, takenOver, type Position } from './position.ts'
import type { Control, RunState } from './types.ts'

const nothing = { do: () => {}, undo: () => {} }
const shape = operation<object, object>('thing.move', { version: 1 })
  .holds(() => [])
  .step('prepare', nothing)
  .wait('equal', { every: '1s', timeout: '10s', until: () => ({ done: true }) })
  .commit('switch', { do: () => {}, happened: () => true, retryFrom: 'equal', attempts: 2, backoff: '3s' })
  .step('clear', { do: () => {} })
const withoutCommit = operation<object, object>('thing.put', { version: 1 })
  .holds(() => [])
  .step('put', nothing)

const t0 = Date.parse('2026-01-01T00:00:00.000Z')
const free: Control = {
  paused: false,
  cancelRequested: false,
  rate: null,
  pace: null,
  priority: null,
}

/** The position after these facts, the n-th of them at n seconds. */
const after = (facts: Fact[]): Position =>
  facts.reduce(
    (position, fact, i) =>
      apply(shape, position, { ...fact, seq: i + 1, at: new Date(t0 + i * 1000).toISOString() }),
    startPosition,
  )
const next = (facts: Fact[], control: Partial<Control> = {}, now = t0, lookAt: number | null = null) =>
  plan(shape, { position: after(facts), control: { ...free, ...control }, now, lookAt, advancedAt: null })

const fact = (event: Fact['event'], step: string, more: Partial<Fact> = {}): Fact => ({
  event,
  step,
  ...more,
})
const toWait = [fact('started', 'prepare'), fact('done', 'prepare'), fact('started', 'equal')]
const toCommit = [...toWait, fact('done', 'equal'), fact('started', 'switch')]
const failure = { class: 'retry', code: null, message: 'x' } as const
const asking = [...toCommit, fact('failed', 'switch', { failure, decision: 'ask' })]
const committed = [...toCommit, fact('done', 'switch'), fact('started', 'clear')]

test('what is next, place by place', () => {
  assert.deepEqual(next([]), { type: 'note', fact: fact('started', 'prepare') })
  assert.deepEqual(next([fact('started', 'prepare')]), { type: 'do', index: 0 })
  assert.deepEqual(next(toWait), { type: 'look', index: 1, held: false })
  assert.deepEqual(next(toCommit), { type: 'do', index: 2 })
  assert.deepEqual(next(asking), { type: 'ask', index: 2 })
  assert.deepEqual(next(committed), { type: 'do', index: 3 })
  assert.deepEqual(next([...committed, fact('done', 'clear')]), { type: 'end', state: 'succeeded' })
})

test('after a restart a commit that had begun is asked for; any other step is simply done again', () => {
  const adopted: Fact = { event: 'adopted', step: null }
  assert.deepEqual(next([...toCommit, adopted]), { type: 'ask', index: 2 })
  assert.deepEqual(next([fact('started', 'prepare'), adopted]), { type: 'do', index: 0 })
  assert.deepEqual(next([...committed, adopted]), { type: 'do', index: 3 })
})

test('unwinding undoes the step under way and skips what has no undo', () => {
  const failed = [...toWait, fact('failed', 'equal', { failure, decision: 'unwind' })]
  assert.deepEqual(next(failed), { type: 'undo', index: 0 })
  assert.deepEqual(next([...failed, fact('undone', 'prepare')]), { type: 'end', state: 'failed' })
})

test('after a commit that backed out, unwinding also undoes the steps between its wait and it', () => {
  const between = operation<object, object>('thing.move', { version: 2 })
    .holds(() => [])
    .step('first', nothing)
    .wait('equal', { every: '1s', timeout: '10s', until: () => ({ done: true }) })
    .step('between', nothing)
    .commit('switch', { do: () => {}, happened: () => true, retryFrom: 'equal' })
  const facts = [
    fact('started', 'first'),
    fact('done', 'first'),
    fact('started', 'equal'),
    fact('done', 'equal'),
    fact('started', 'between'),
    fact('done', 'between'),
    fact('started', 'switch'),
    fact('failed', 'switch', { failure, decision: 'ask' }),
    fact('not-happened', 'switch', { failure, decision: 'retry', to: 'equal' }),
  ]
  const control = { ...free, cancelRequested: true }
  const situation = { position: startPosition, control: free, now: t0, lookAt: null, advancedAt: null }
  const { position, action } = settle(between, situation, facts)
  assert.deepEqual(action, { type: 'look', index: 1, held: false })
  const cancelled = settle(between, { ...situation, position, control }, [])
  assert.deepEqual(cancelled.action, { type: 'undo', index: 2 })
  const undone = settle(between, { ...situation, position: cancelled.position, control }, [
    fact('undone', 'between'),
  ])
  assert.deepEqual(undone.action, { type: 'undo', index: 0 })
})

const thereAndBack = operation<object, object>('things.move', { version: 1 })
  .holds(() => [])
  .step('prepare', nothing)
  .wait('moved', {
    every: '1s',
    timeout: '10s',
    until: () => ({ done: true }),
    back: { every: '2s', stallTimeout: '5s', until: () => ({ done: true, advance: 0 }) },
  })
  .step('count', nothing)
  .commit('switch', { do: () => {}, happened: () => true, retryFrom: 'moved' })

/** The n-th fact is of n seconds, `now` and the like in seconds, too. */
function onTheWayBack(
  facts: Fact[],
  now: number,
  seen: { lookAt?: number; advancedAt?: number } = {},
  control: Partial<Control> = {},
) {
  const position = facts.reduce(
    (before, { ...each }, i) =>
      apply(thereAndBack, before, { ...each, seq: i + 1, at: new Date(t0 + i * 1000).toISOString() }),
    startPosition,
  )
  const at = (seconds: number | undefined) => (seconds === undefined ? null : t0 + seconds * 1000)
  return settle(
    thereAndBack,
    {
      position,
      control: { ...free, ...control },
      now: t0 + now * 1000,
      lookAt: at(seen.lookAt),
      advancedAt: at(seen.advancedAt),
    },
    [],
  )
}
const toMoved = [fact('started', 'prepare'), fact('done', 'prepare'), fact('started', 'moved')]
const standing = [...toMoved, fact('cancelled', 'moved')]

test('unwinding goes back through a wait that has a way back: from in it, and from behind it', () => {
  assert.deepEqual(onTheWayBack(standing, 3).action, { type: 'look-back', index: 1 })
  const past = [...toMoved, fact('done', 'moved'), fact('started', 'count'), fact('cancelled', 'count')]
  assert.deepEqual(onTheWayBack(past, 5).action, { type: 'undo', index: 2 })
  const back = [...past, fact('undone', 'count')]
  assert.deepEqual(onTheWayBack(back, 6).action, { type: 'look-back', index: 1 })
  assert.deepEqual(onTheWayBack([...back, fact('undone', 'moved')], 7).action, { type: 'undo', index: 0 })
  const before = [fact('started', 'prepare'), fact('cancelled', 'prepare')]
  assert.deepEqual(onTheWayBack(before, 2).action, { type: 'undo', index: 0 }, 'it was never reached')
})

test('a way back goes on after a restart, and no pause or wish of before holds it', () => {
  const adopted: Fact = { event: 'adopted', step: 'moved' }
  assert.deepEqual(onTheWayBack([...standing, adopted], 4).action, { type: 'look-back', index: 1 })
  const paused = [...toMoved, fact('paused', 'moved'), fact('cancelled', 'moved')]
  const wishes = { paused: true, cancelRequested: true }
  const { action, view } = onTheWayBack(paused, 4, {}, wishes)
  assert.deepEqual(action, { type: 'look-back', index: 1 })
  assert.deepEqual(view, { state: 'cancelling', step: 'moved', cancellable: false, failure: null })
})

test('a way back has a bound of its own, counted from when its turn came; then a person is called', () => {
  const sleeps = (until: number) => ({ type: 'sleep', until: t0 + until * 1000 })
  assert.deepEqual(onTheWayBack(standing, 3.5, { lookAt: 5 }).action, sleeps(5))
  assert.deepEqual(onTheWayBack(standing, 3.5, { lookAt: 99 }).action, sleeps(8))
  assert.equal(onTheWayBack(standing, 60, { advancedAt: 56 }).action.type, 'look-back', 'it advances')
  const struck = onTheWayBack(standing, 8)
  assert.deepEqual(struck.action, { type: 'idle', why: 'attention' })
  assert.deepEqual(
    struck.facts.map(({ event, step, decision }) => [event, step, decision]),
    [['undo-failed', 'moved', 'attention']],
  )
  assert.equal(struck.view.failure?.message, 'moved (on the way back) made no progress for 5 s')

  const facts = [...standing, ...struck.facts, fact('resumed', 'moved')]
  assert.deepEqual(onTheWayBack(facts, 9.9).action, { type: 'look-back', index: 1 }, 'its time again')
  assert.deepEqual(onTheWayBack(facts, 10).action, { type: 'idle', why: 'attention' })
})

test('a cancel counts until the commit has begun, and not after', () => {
  const cancel = { cancelRequested: true }
  const noted = (step: string) => ({ type: 'note', fact: fact('cancelled', step) })
  assert.deepEqual(next([], cancel), noted('prepare'))
  assert.deepEqual(next(toWait, cancel), noted('equal'))
  assert.deepEqual(next([...toWait, fact('done', 'equal')], cancel), noted('switch'))
  assert.deepEqual(next(toCommit, cancel), { type: 'do', index: 2 })
  assert.deepEqual(next(asking, cancel), { type: 'ask', index: 2 })
  assert.deepEqual(next(committed, cancel), { type: 'do', index: 3 })
})

test('without a commit a cancel counts to the very end', () => {
  const done: Fact[] = [fact('done', 'put')]
  const situation = { position: startPosition, control: free, now: t0, lookAt: null, advancedAt: null }
  const settled = settle(withoutCommit, situation, done)
  assert.deepEqual([settled.action, settled.unlessCancelled], [{ type: 'end', state: 'succeeded' }, true])
  const cancelled = settle(withoutCommit, { ...situation, control: { ...free, cancelRequested: true } }, done)
  assert.deepEqual(cancelled.action, { type: 'undo', index: 0 })
})

test('a pause holds steps, leaves waits looking, and does not keep a commit’s question from being asked', () => {
  const paused = { paused: true }
  const note = (step: string) => ({ type: 'note', fact: fact('paused', step) })
  assert.deepEqual(next([], paused), note('prepare'))
  assert.deepEqual(next([fact('paused', 'prepare')], paused), { type: 'idle', why: 'paused' })
  assert.deepEqual(next([...toWait, fact('paused', 'equal')], paused), { type: 'look', index: 1, held: true })
  assert.deepEqual(next(asking, paused), { type: 'ask', index: 2 })
  assert.deepEqual(next([fact('paused', 'prepare')]), { type: 'note', fact: fact('continued', 'prepare') })
})

test('a wait sleeps between looks, until its time is up; pauses do not count', () => {
  const started = t0 + 2000
  assert.deepEqual(next(toWait, {}, started, started + 500), { type: 'sleep', until: started + 500 })
  assert.deepEqual(next(toWait, {}, started, started + 99_000), { type: 'sleep', until: started + 10_000 })
  const over = next(toWait, {}, started + 10_000)
  assert.ok(over.type === 'note' && over.fact.event === 'failed' && over.fact.decision === 'unwind')
  const paused = [...toWait, fact('paused', 'equal'), fact('continued', 'equal')]
  assert.equal(next(paused, {}, started + 10_500).type, 'look', 'paused for a second')
})

test('a wait that is bounded by standstill ends when nothing has changed for so long, however long it takes', () => {
  const copying = operation<object, object>('thing.move', { version: 1 })
    .holds(() => [])
    .step('prepare', nothing)
    .wait('equal', { every: '1s', stallTimeout: '10s', until: () => ({ done: false, advance: 1 }) })
  const at = (seconds: number, advancedAt: number | null, facts = toWait) =>
    plan(copying, {
      position: after(facts),
      control: free,
      now: t0 + seconds * 1000,
      lookAt: null,
      advancedAt: advancedAt === null ? null : t0 + advancedAt * 1000,
    })
  assert.equal(at(11, null).type, 'look', 'begun at 2 s')
  assert.equal(at(86_400, 86_395).type, 'look', 'a day, but it advances')
  const over = at(86_400, 86_390)
  assert.ok(over.type === 'note' && over.fact.decision === 'unwind')
  assert.equal(over.fact.failure?.message, 'equal made no progress for 10 s')
  // Paused from 3 s to 4 s: what counts is the end of the pause.
  const paused = [...toWait, fact('paused', 'equal'), fact('continued', 'equal')]
  assert.equal(at(13.9, null, paused).type, 'look')
  assert.equal(at(14, null, paused).type, 'note')
})

test('what is taken over counts from then on, whatever the clock shows', () => {
  const day = 86_400_000
  const waiting = after([...toWait, fact('paused', 'equal')])
  for (const now of [t0 - day, t0 + day]) {
    const position = takenOver({ ...waiting, notBefore: t0 + 2 * day }, now, 60_000)
    assert.deepEqual(
      [position.startedAt, position.pausedSince, position.notBefore],
      [now, now, now + 60_000],
      'no attempt is further off than the longest back-off',
    )
  }
  assert.equal(takenOver({ ...waiting, notBefore: t0 + 5 }, t0, 60_000).notBefore, t0 + 5)
})

test('when the next wait, or the way back, is looked at first has nothing to do with the wait before', () => {
  const two = operation<object, object>('thing.move', { version: 3 })
    .holds(() => [])
    .wait('first', { every: '1h', timeout: '10h', until: () => ({ done: true }) })
    .wait('second', {
      every: '1h',
      stallTimeout: '1h',
      until: () => ({ done: true, advance: 0 }),
      back: { every: '1h', timeout: '10h', until: () => ({ done: true }) },
    })
  const hour = 3_600_000
  const situation = { position: startPosition, control: free, now: t0, lookAt: t0 + hour, advancedAt: null }
  const second = settle(two, situation, [fact('started', 'first'), fact('done', 'first')])
  assert.deepEqual(second.action, { type: 'look', index: 1, held: false })
  const later = { ...situation, position: second.position, now: t0 + hour, lookAt: t0 + 2 * hour }
  const overdue = settle(two, later, [])
  assert.deepEqual(overdue.action, { type: 'look-back', index: 1 })
})

test('everything up to the next call is one write', () => {
  const situation = {
    position: after([fact('started', 'prepare')]),
    control: free,
    now: t0,
    lookAt: null,
    advancedAt: null,
  }
  const settled = settle(shape, situation, [fact('done', 'prepare')])
  assert.deepEqual(
    settled.facts.map(({ event, step }) => `${event} ${step}`),
    ['done prepare', 'started equal'],
  )
  assert.deepEqual(settled.view, { state: 'waiting', step: 'equal', cancellable: true, failure: null })
})

test('the state and the cancel that the row shows', () => {
  const view = (facts: Fact[], control: Partial<Control> = {}): [RunState, string | null, boolean] => {
    const position = after(facts)
    const situation = {
      position,
      control: { ...free, ...control },
      now: t0 + 60_000,
      lookAt: t0 + 70_000,
      advancedAt: null,
    }
    const { state, step, cancellable } = settle(shape, situation, []).view
    return [state, step, cancellable]
  }
  assert.deepEqual(view([]), ['running', 'prepare', true])
  assert.deepEqual(view(toCommit), ['running', 'switch', false])
  assert.deepEqual(view(asking), ['running', 'switch', false])
  assert.deepEqual(view(committed), ['running', 'clear', false])
  assert.deepEqual(view([], { paused: true }), ['paused', 'prepare', true])
  assert.deepEqual(view([fact('started', 'prepare')], { cancelRequested: true }), [
    'cancelling',
    'prepare',
    false,
  ])
  const unwinding = [...toWait, fact('failed', 'equal', { failure, decision: 'unwind' })]
  assert.deepEqual(view(unwinding), ['unwinding', 'prepare', false])
  const attention = [...committed, fact('failed', 'clear', { failure, decision: 'attention' })]
  assert.deepEqual(view(attention), ['needs-attention', 'clear', false])
})

test('how failures are judged', () => {
  const [prepare, , commit, clear] = shape.nodes
  const given = (node: typeof prepare, error: Error, more: Partial<Case> = {}): Case => {
    assert.ok(node)
    const made = { shape, position: startPosition, node, failure: classify(error), policy: defaultPolicy }
    return { ...made, input: {}, now: t0, failures: 0, ...more }
  }
  const decision = (...args: Parameters<typeof given>) => judgeFailed(given(...args)).decision
  assert.equal(decision(prepare, new Error('?')), 'unwind')
  assert.equal(decision(prepare, retryable('later')), 'retry')
  assert.equal(decision(prepare, unknown('who knows')), 'retry')
  assert.equal(decision(prepare, retryable('later'), { failures: 4 }), 'unwind')
  assert.equal(decision(commit, final('no')), 'ask')
  const position = after(committed)
  assert.equal(decision(clear, final('no'), { position }), 'retry', 'after the commit all is tried again')
  assert.equal(decision(clear, final('no'), { position, failures: 11 }), 'attention')
  const second = judgeFailed(given(prepare, retryable('later'), { failures: 2 }))
  assert.equal(second.retryAt, new Date(t0 + 800).toISOString(), '200 ms, doubled twice')

  const not = (at: Position) =>
    judgeNotHappened(commit as CommitNode, { position: at, policy: defaultPolicy, input: {}, now: t0 })
  const once = not(after(asking))
  assert.deepEqual(
    [once.decision, once.to, once.retryAt],
    ['retry', 'equal', new Date(t0 + 3000).toISOString()],
  )
  const twice = not({ ...after(asking), backedOut: 1 })
  assert.equal(twice.decision, 'unwind', 'two attempts were allowed')
  const crash = not({ ...after([...toCommit, { event: 'adopted', step: null }]), backedOut: 1 })
  assert.deepEqual([crash.decision, crash.retryAt], ['retry', undefined], 'a crash uses no attempt up')
})
