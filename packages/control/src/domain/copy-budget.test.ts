import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { fairPart, shareOut } from './copy-budget.ts'

test('a budget is shared by weight, and what one does not use the others have', () => {
  const shares = shareOut(100, [
    { id: 'high', weight: 4, wantBps: Infinity },
    { id: 'low', weight: 1, wantBps: Infinity },
    { id: 'slow', weight: 4, wantBps: 10 },
  ])
  assert.deepEqual([...shares].toSorted(), [
    ['high', 72],
    ['low', 18],
    ['slow', 10],
  ])
})

test('whatever is wanted, a budget is never exceeded, and nobody starves', () => {
  const sharer = fc.record({
    weight: fc.constantFrom(1, 2, 4),
    wantBps: fc.oneof(fc.integer({ min: 1, max: 1000 }), fc.constant(Infinity)),
  })
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1000 }),
      fc.array(sharer, { minLength: 1, maxLength: 8 }),
      (budget, wanted) => {
        const sharers = wanted.map((one, i) => ({ id: String(i), ...one }))
        const shares = shareOut(budget, sharers)
        const sum = [...shares.values()].reduce((all, share) => all + share, 0)
        assert.ok(sum <= budget * 1.000001)
        for (const { id, wantBps } of sharers)
          assert.ok((shares.get(id) ?? 0) > 0 && (shares.get(id) ?? 0) <= wantBps)
        const isWanted = sharers.reduce((all, { wantBps }) => all + wantBps, 0)
        assert.ok(sum >= Math.min(budget, isWanted) * 0.999999, 'nothing is wasted')
      },
    ),
  )
})

test('fair parts are by weight, and one that is alone, or beside one without a limit, has none', () => {
  const two = [
    { id: 'a', weight: 4, rateBps: 90, usedBps: null },
    { id: 'b', weight: 1, rateBps: 10, usedBps: null },
  ]
  assert.equal(fairPart('b', two), 20)
  assert.equal(fairPart('a', two.slice(0, 1)), null)
  assert.equal(fairPart('a', [...two, { id: 'c', weight: 1, rateBps: Infinity, usedBps: null }]), null)
})

test('a limit that the disk does not give is shared by nobody; what one can not use is the others’', () => {
  const mib = 1024 ** 2
  const [high, low] = [
    { id: 'high', weight: 4, rateBps: 750 * mib, usedBps: 300 * mib },
    { id: 'low', weight: 1, rateBps: 750 * mib, usedBps: 300 * mib },
  ]
  const part = fairPart('low', [high, low]) ?? 0
  assert.ok(part < low.usedBps, `${part / mib}: less than it does, so that the other can do more`)
  const slow = { ...high, usedBps: 20 * mib }
  const rest = fairPart('low', [slow, low]) ?? 0
  assert.ok(rest > 300 * mib, `${rest / mib}: one that is slow for its own reasons keeps nobody back`)
})
