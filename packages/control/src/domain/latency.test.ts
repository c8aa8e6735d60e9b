import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DeviceLatency, LatencyHistogram } from '@volant/contract'
import { feelingOf, newTrack, withBaseline, withSnapshot } from './client-latency.ts'
import { between, percentile, requestsIn, slowerThan, together } from './latency.ts'

const boundsNs = [1e6, 2e6, 4e6]
const histogram = (...counts: number[]): LatencyHistogram => ({ boundsNs, counts })
const none = histogram(0, 0, 0, 0)
const latency = (writes: LatencyHistogram, since = 'one'): DeviceLatency => ({
  since,
  reads: none,
  writes,
  flushes: none,
})

test('a window is the difference of two snapshots', () => {
  assert.deepEqual(between(histogram(1, 2, 3, 4), histogram(2, 2, 5, 4)), histogram(1, 0, 2, 0))
})

test('counts that began anew, or in other bins, are not subtracted', () => {
  assert.equal(between(histogram(5, 0, 0, 0), histogram(1, 0, 0, 0)), null)
  assert.equal(between(histogram(0, 0, 0, 0), { boundsNs: [1e6, 2e6, 5e6], counts: [0, 0, 0, 0] }), null)
})

test('percentiles lie within the bins, and in the last one at its lower end', () => {
  const window = histogram(98, 2, 0, 0)
  assert.equal(requestsIn(window), 100)
  assert.equal(Math.round(percentile(window, 0.99) ?? 0), 1.5e6)
  assert.equal(percentile(histogram(10, 0, 0, 10), 0.99), 4e6)
  assert.equal(percentile(none, 0.99), null)
})

test('what is slower than a bound inside a bin is told in proportion', () => {
  assert.equal(slowerThan(histogram(0, 10, 4, 1), 1.5e6), 10)
  assert.equal(slowerThan(histogram(0, 10, 4, 1), 9e6), 0)
})

test('a client waits for reads, writes and flushes, also where they are counted in other bins', () => {
  const reads = histogram(1, 2, 3, 4)
  const flushes = { boundsNs: [1.5e6, 9e6], counts: [1, 1, 1] }
  const all = together({ since: 'one', reads, writes: reads, flushes })
  assert.deepEqual(all, histogram(2, 5, 6, 10))
  assert.equal(
    percentile(
      together({
        since: 'one',
        reads: histogram(50, 0, 0, 0),
        writes: histogram(0, 0, 50, 0),
        flushes: none,
      }),
      0.75,
    ),
    3e6,
  )
})

/** Looks every 250 ms; each adds these counts. */
function track(...looks: number[][]) {
  let found = withSnapshot(newTrack(), 0, latency(none))
  const sum = [0, 0, 0, 0]
  for (const [i, counts] of looks.entries()) {
    for (const [bin, count] of counts.entries()) sum[bin] = (sum[bin] ?? 0) + count
    found = withSnapshot(found, (i + 1) * 250, latency(histogram(...sum)))
  }
  return found
}

test('a single slow request proves nothing, many do', () => {
  const fast = [100, 0, 0, 0]
  const one = track(fast, fast, fast, [99, 0, 0, 1])
  assert.notEqual(feelingOf(one, 0, 1000, 2).is, 'over')
  assert.equal(feelingOf(track(fast, fast, fast, [90, 0, 0, 10]), 0, 1000, 2).is, 'over')
  assert.equal(feelingOf(track(fast, fast, fast, fast), 0, 1000, 2).is, 'under')
})

test('two requests of two that were slow are no idle client: the copy may be what starves it', () => {
  assert.equal(feelingOf(track([0], [0, 0, 0, 1], [0], [0, 0, 0, 1]), 0, 1000, 2).is, 'over')
  assert.equal(feelingOf(track([1], [0], [1], [0]), 0, 1000, 2).is, 'idle')
})

test('what was answered before the rate was lowered is not looked at again', () => {
  const seen = track([0, 0, 0, 100], [100, 0, 0, 0], [100, 0, 0, 0], [100, 0, 0, 0])
  assert.equal(feelingOf(seen, 0, 1000, 2).is, 'over')
  assert.equal(feelingOf(seen, 250, 1000, 2).is, 'under')
})

test('a baseline needs some requests', () => {
  assert.equal(withBaseline(track([2, 0, 0, 0]), 0).baselineMs, null)
  const found = withBaseline(track([98, 2, 0, 0]), 0)
  assert.equal(found.baselineMs?.toFixed(3), '1.500')
  assert.equal(found.referenceMs, found.baselineMs)
})

test('a device that was plugged in anew begins anew', () => {
  const found = withSnapshot(track([100, 0, 0, 0]), 500, latency(none, 'two'))
  assert.equal(found.snapshots.length, 1)
  assert.equal(feelingOf(found, 0, 500, 2).is, 'unsure')
})
