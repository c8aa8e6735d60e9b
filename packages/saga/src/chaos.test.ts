import assert from 'node:assert/strict'
import test from 'node:test'
import * as fc from 'fast-check'
import { Executor } from './executor.ts'
import { final, retryable } from './failure.ts'
import type { Fault } from './faults.ts'
import { MemoryStore } from './memory-store.ts'
import { bind, operation } from './operation.ts'
import { hurriedPolicy } from './testing/every-step.ts'
import type { RunRecord } from './types.ts'

/** What exists in the world: one thing for each step done and not undone. */
class Things {
  readonly made = new Set<string>()
  committed = false
}

const step = (name: string) => ({
  do: ({ ports }: { ports: Things }) => {
    assert.ok(!ports.committed, 'nothing before the commit is done after it')
    ports.made.add(name)
  },
  undo: ({ ports }: { ports: Things }) => {
    assert.ok(!ports.committed, 'nothing is undone after the commit')
    ports.made.delete(name)
  },
})

const declared = operation<object, Things>('chaos', { version: 1 })
  .holds(() => ['all'])
  .step('a', step('a'))
  .step('b', step('b'))
  .wait('w', { every: 1, timeout: '1m', until: () => ({ done: true }) })
  .step('m', step('m'))
  .commit('c', {
    do: ({ ports }) => {
      ports.committed = true
    },
    happened: ({ ports }) => ports.committed,
    retryFrom: 'w',
  })
  .step('z', { do: ({ ports }) => void ports.made.add('z') })

const faults: fc.Arbitrary<Fault[]> = fc.array(
  fc.record({
    at: fc.constantFrom('a', 'b', 'w', 'm', 'c', 'z'),
    during: fc.constantFrom('do', 'undo'),
    when: fc.constantFrom('before', 'after'),
    what: fc.constantFrom('throw', 'throw', 'crash', 'cancel', 'repeat'),
    error: fc.constantFrom(final('final'), retryable('retry')),
    times: fc.integer({ min: 1, max: 4 }),
  }),
  { maxLength: 6 },
)

/** One engine after the other until the run has ended; each has the faults that the earlier ones have left. */
async function endOf(things: Things, store: MemoryStore, planned: Fault[]): Promise<RunRecord> {
  const left = planned.map((fault) => ({ ...fault, reached: () => fault.times && fault.times-- }))
  let id = ''
  for (let lives = 0; lives < 60; lives++) {
    const inject = left.map((fault, i) => ({ ...fault, times: planned[i]?.times ?? 0 }))
    const operations = [bind(declared, things)]
    const executor = new Executor({
      store,
      owner: `life ${lives}`,
      operations,
      policy: hurriedPolicy,
      inject,
    })
    const broken: unknown[] = []
    executor.onEvent((event) => event.type === 'broken' && broken.push(event.error))
    await executor.begin()
    if (id === '') id = (await executor.start(declared, {})).id
    for (let rounds = 0; rounds < 20; rounds++) {
      const run = await executor.ended(id).catch(() => null)
      assert.deepEqual(broken, [])
      if (run === null) break
      if (run.state !== 'needs-attention') {
        await executor.stop()
        return run
      }
      await executor.resume(id).catch(() => null)
    }
    executor.abandon()
  }
  return assert.fail('the run never ended')
}

test('whatever strikes, a run ends with everything done or everything undone', async () => {
  await fc.assert(
    fc.asyncProperty(faults, async (planned) => {
      const things = new Things()
      const store = new MemoryStore()
      const run = await endOf(
        things,
        store,
        planned.map((fault) => ({ ...fault })),
      )
      const all = run.state === 'succeeded'
      assert.equal(things.committed, all, run.state)
      assert.deepEqual([...things.made].sort(), all ? ['a', 'b', 'm', 'z'] : [], run.state)
      assert.equal(await store.holderOf('all'), undefined)
    }),
    { numRuns: 150 },
  )
})
