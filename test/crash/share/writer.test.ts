import assert from 'node:assert/strict'
import { test } from 'node:test'
import { problemsOf } from './writer.ts'

const ring = (latest: number): number[] =>
  Array.from({ length: 1024 }, (_, slot) => Math.max(0, latest - ((latest - slot + 1024) % 1024)))

test('what was acknowledged and is there is no problem, nor what may be there', () => {
  for (const latest of [0, 1, 1023, 1024, 3000]) {
    assert.deepEqual(problemsOf(ring(latest), { acknowledged: latest, begun: latest }), [])
    assert.deepEqual(problemsOf(ring(latest), { acknowledged: Math.max(0, latest - 1), begun: latest }), [])
  }
})

test('what is lost, torn or from nowhere is told', () => {
  const lost = problemsOf(ring(2999), { acknowledged: 3000, begun: 3000 })
  assert.deepEqual(lost, ['record 3000 was acknowledged; its place 952 holds 1976'])
  assert.match(problemsOf(ring(3001), { acknowledged: 3000, begun: 3000 }).join(), /not written yet/)
  const torn = ring(3000).map((number, slot) => (slot === 7 ? 'place 7 holds no whole record' : number))
  assert.deepEqual(problemsOf(torn, { acknowledged: 3000, begun: 3000 }), ['place 7 holds no whole record'])
  assert.match(problemsOf([], { acknowledged: 3000, begun: 3000 }).join(), /and 1019 more/)
})
