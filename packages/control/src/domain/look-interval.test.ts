import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nextLookMs } from './look-interval.ts'

/** When a copy is looked at that takes `ms`, if each look takes no time. */
function looksAt(ms: number, every: number): number[] {
  const looks = [0]
  for (let at = 0; at < ms; looks.push(at)) at += nextLookMs(at) ?? every
  return looks
}

test('the end of a small copy is seen soon after it', () => {
  for (const ms of [1, 15, 50, 100, 180, 300]) {
    const seen = looksAt(ms, 250).at(-1) ?? 0
    assert.ok(seen - ms <= Math.max(20, ms / 3), `a copy of ${ms} ms is seen to be over after ${seen} ms`)
  }
})

test('a long one is looked at as seldom as its wait says', () => {
  const looks = looksAt(10_000, 250)
  assert.ok(looks.filter((at) => at < 1000).length <= 20, 'few looks in its first second')
  assert.ok(looks.filter((at) => at >= 1250).every((at, i, all) => i === 0 || at - (all[i - 1] ?? 0) === 250))
})
