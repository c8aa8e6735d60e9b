import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { until } from '@volant/contract/testing/until.ts'
import { DomainError } from '@volant/contract'
import { bind, Executor, MemoryStore } from '@volant/saga'
import { hurriedPolicy } from '@volant/saga/testing/every-step.ts'
import type { VacateProgress } from '../domain/vacate-progress.ts'
import { vacateRig } from '../testing/vacate.ts'
import { gatherVacate, placeVacated } from './vacate-facts.ts'
import { vacateAggregate, type VacateAggregateInput } from './vacate-aggregate.ts'

const input: VacateAggregateInput = {
  cluster: 'c',
  node: 'n1',
  name: 'old',
  whole: false,
  aggregates: ['old'],
  to: null,
}

async function begin(t: TestContext, rig: ReturnType<typeof vacateRig>, changes = {}) {
  const executor = new Executor({
    store: new MemoryStore(),
    owner: 'o',
    operations: [
      bind(vacateAggregate, {
        ...rig.ports,
        engine: {
          ...rig.ports.engine,
          get: async (id) => rig.parts.find((one) => one.id === id) ?? executor.get(id),
        },
      }),
    ],
    policy: hurriedPolicy,
  })
  t.after(() => executor.stop())
  await executor.begin()
  const { id } = await executor.start(vacateAggregate, { ...input, ...changes })
  return { executor, id, progress: async () => (await executor.get(id)).progress as VacateProgress }
}

test('every FlexVol moves, four at a time, the largest first; progress is of all', async (t) => {
  const rig = vacateRig(['s', 'm', 'l', 'xl', 'xxl', 'xxxl'])
  const { executor, id, progress } = await begin(t, rig)
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.deepEqual(rig.at('old'), [])
  const names = rig.started.map(({ flexvolId }) => rig.flexvols.get(flexvolId)?.name)
  assert.deepEqual(names.slice(0, 4), ['xxxl', 'xxl', 'xl', 'l'])
  const { flexvols, images, doneBytes, totalBytes, longestPauseMs } = await progress()
  assert.deepEqual(flexvols, { total: 6, moved: 6, moving: 0, waiting: 0, stuck: 0 })
  assert.deepEqual([images.total, images.moved, longestPauseMs], [12, 12, 1.5])
  assert.equal(doneBytes, totalBytes)
})

test('what has failed, or was cancelled by itself, stays; the others go; it ends as failed with each reason', async (t) => {
  const rig = vacateRig(['good', 'bad', 'unwanted'])
  rig.failing.add('bad')
  const { executor, id } = await begin(t, rig)
  await until('all have begun', () => rig.started.length === 3)
  const unwanted = rig.parts.find(
    (part) => (part.input as { flexvolId: string }).flexvolId === rig.named('unwanted').id,
  )
  await rig.ports.engine.cancel(unwanted?.id ?? '')
  const run = await executor.ended(id)
  assert.equal(run.state, 'failed')
  assert.match(run.failure?.message ?? '', /bad stays: bad could not be copied/)
  assert.match(run.failure?.message ?? '', /unwanted stays: its move was cancelled/)
  assert.deepEqual(rig.at('old').toSorted(), ['bad', 'unwanted'])
})

test('where room is missing the rest still goes, and the reason says how much is missing', async (t) => {
  const rig = vacateRig(['s', 'm', 'l'])
  rig.free.set('a', 4 * 1024 ** 3)
  rig.free.set('b', 0)
  const { executor, id } = await begin(t, rig)
  const run = await executor.ended(id)
  assert.equal(run.state, 'failed')
  assert.match(run.failure?.message ?? '', /^m stays: no aggregate has room for it: .*GiB too little/m)
  assert.deepEqual(rig.at('old'), ['m'])
})

test('a refusal that passes is tried again; one that stays ends it, with the reason', async (t) => {
  const rig = vacateRig(['one', 'two'])
  const { start } = rig.ports.moves
  let refusals = 3
  rig.ports.moves.start = async (request) => {
    if (request.flexvolId !== rig.named('one').id || refusals-- <= 0) return start(request)
    throw new DomainError('conflict', 'operation 7 resizes it')
  }
  const first = await begin(t, rig)
  assert.equal((await first.executor.ended(first.id)).state, 'succeeded')
  assert.deepEqual(rig.at('old'), [])

  const other = vacateRig(['one', 'two'])
  other.refusing.set('one', new DomainError('conflict', 'operation 7 resizes it'))
  const second = await begin(t, other)
  const ended = await second.executor.ended(second.id)
  assert.equal(ended.state, 'failed')
  assert.match(ended.failure?.message ?? '', /one stays: operation 7 resizes it/)
  assert.deepEqual(other.at('old'), ['one'])
})

test('only to the aggregates that were named', async (t) => {
  const rig = vacateRig()
  const { executor, id } = await begin(t, rig, { to: ['b'] })
  assert.equal((await executor.ended(id)).state, 'succeeded')
  assert.deepEqual([rig.at('a'), rig.at('b').length], [[], 3])
})

test('a cancel begins nothing more and cancels what runs; what has arrived stays', async (t) => {
  const rig = vacateRig(['a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'a7', 'a8'])
  const { executor, id } = await begin(t, rig)
  await until('one has arrived', () => rig.at('old').length < 8)
  await executor.cancel(id)
  const run = await executor.ended(id)
  assert.equal(run.state, 'cancelled')
  const begun = rig.started.length
  assert.ok(begun < 8, 'some were never begun')
  assert.ok(rig.parts.some((part) => part.state === 'cancelled'))
  const arrived = rig.parts.filter((part) => part.state === 'succeeded').length
  assert.equal(8 - rig.at('old').length, arrived)
  for (const part of rig.parts) assert.notEqual(part.endedAt, null)
})

test('pause and rate are told to the moves once, so that one can be steered alone', async (t) => {
  const rig = vacateRig(['one', 'two'])
  const { executor, id, progress } = await begin(t, rig)
  const going = () => rig.parts.filter((part) => part.endedAt === null)
  await until('both have begun', () => going().length === 2)
  await executor.pause(id)
  await until('both are paused', () => going().every((part) => part.control.paused))
  await until('it is seen', async () => (await progress()).phase === 'paused')
  const [alone] = going()
  await rig.ports.engine.resume(alone?.id ?? '')
  await new Promise((go) => setTimeout(go, 30))
  assert.equal(alone?.control.paused, false, 'resumed alone, it is not paused again')
  await executor.steer(id, { rate: 1000, pace: '3x', priority: 'low' })
  await until('the rate is brought', () => going().every((part) => part.control.rate === 1000))
  assert.ok(going().every(({ control }) => control.pace === '3x' && control.priority === 'low'))
  await executor.resume(id)
  assert.equal((await executor.ended(id)).state, 'succeeded')
})

test('while it is paused nothing new begins', async (t) => {
  const rig = vacateRig(['a1', 'a2', 'a3', 'a4', 'a5', 'a6'])
  const { executor, id } = await begin(t, rig)
  await until('four have begun', () => rig.started.length === 4)
  await executor.pause(id)
  const going = () => rig.parts.filter((part) => part.endedAt === null)
  await until('they are paused', () => going().length > 0 && going().every((part) => part.control.paused))
  const begun = rig.started.length
  for (const part of going()) await rig.ports.engine.resume(part.id)
  await until('the begun ones have arrived', () => going().length === 0)
  await new Promise((go) => setTimeout(go, 30))
  assert.equal(rig.started.length, begun)
  assert.ok(begun < 6)
  await executor.resume(id)
  assert.equal((await executor.ended(id)).state, 'succeeded')
})

test('what a plan says is free when all is done goes by the same estimate as the bytes that it tells', async () => {
  const rig = vacateRig(['one'])
  const { plan } = rig.ports.moves
  rig.ports.moves.plan = async (request) => {
    const made = await plan(request)
    const estimate = { bytes: 7, freeBytes: 0, seconds: 1, rate: 1, staysShared: true }
    return { ...made, estimate }
  }
  const facts = await gatherVacate(rig.ports, { cluster: 'c', aggregates: ['old'], to: ['a'] })
  const { moves, targets } = await placeVacated(rig.ports, facts)
  assert.deepEqual(
    moves.map(({ bytes }) => bytes),
    [7],
  )
  assert.deepEqual(
    targets.map(({ freeBytes, freeAfterBytes }) => freeBytes - freeAfterBytes),
    [7],
  )
})
