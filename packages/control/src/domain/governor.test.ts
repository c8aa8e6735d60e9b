/** The law of the governor on a simulated disk: all times are simulated. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mib, p99Between, runDisk, turnsIn, usedBetween, type DiskModel } from '../testing/governed-disk.ts'

const seeds = [1, 2, 3, 4, 5, 6]
const steady = (perSecond: number) => () => perSecond
/** As seen over all seeds: one run of a tail is an accident. */
const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

for (const perSecond of [500, 3000]) {
  test(`beside ${perSecond} requests a second the 99th percentile stays within twice what it was`, () => {
    const shares = seeds.map((seed) => {
      const run = runDisk({ seed, clients: [{ perSecond: steady(perSecond) }], seconds: 40 })
      return p99Between(run, 0, 5000, 40_000) / (run.aloneMs[0] ?? 0)
    })
    assert.ok(mean(shares) <= 2, `${shares.join(', ')}`)
    assert.ok(Math.max(...shares) <= 2.3, `${shares.join(', ')}`)
  })
}

test('without a governor it does not: the model is worth something', () => {
  const run = runDisk({ clients: [{ perSecond: steady(500) }], seconds: 20, governed: false })
  assert.ok(p99Between(run, 0, 5000, 20_000) > 5 * (run.aloneMs[0] ?? 0))
})

test('beside a moderate client the copy keeps six tenths of its speed', () => {
  for (const seed of seeds) {
    const model: DiskModel = { seed, clients: [{ perSecond: steady(500) }], seconds: 60 }
    const [governed, full] = [runDisk(model), runDisk({ ...model, governed: false })]
    assert.ok((governed.bytes[0] ?? 0) >= 0.6 * (full.bytes[0] ?? 0), `seed ${seed}`)
  }
})

test('a burst halves the rate within a second; afterwards it is back within five', () => {
  for (const seed of seeds) {
    const perSecond = (ms: number): number => (ms > 20_000 && ms <= 28_000 ? 6000 : 500)
    const run = runDisk({ seed, clients: [{ perSecond }], seconds: 40 })
    const limitAt = (from: number): number => run.looks.find(({ ms }) => ms >= from)?.limits[0] ?? 0
    const before = limitAt(20_000)
    assert.ok(limitAt(21_000) < before / 2, `seed ${seed}: ${before} and then ${limitAt(21_000)}`)
    const after = usedBetween(run, 0, 33_000, 37_000)
    assert.ok(after > before * 0.7, `seed ${seed}: ${before} and back at ${after}`)
  }
})

test('after settling it does not oscillate', () => {
  for (const seed of seeds) {
    const run = runDisk({ seed, clients: [{ perSecond: steady(500) }], seconds: 70 })
    const limits = run.looks.filter(({ ms }) => ms >= 10_000).map(({ limits }) => limits[0] ?? 0)
    const turns = turnsIn(run, 10_000, 70_000)
    assert.ok(turns <= 12, `seed ${seed}: ${turns} turns in a minute`)
    const sorted = limits.toSorted((a, b) => a - b)
    const [low, high] = [
      sorted[Math.floor(sorted.length * 0.05)] ?? 0,
      sorted[Math.floor(sorted.length * 0.95)] ?? 0,
    ]
    assert.ok(high / low < 2.5, `seed ${seed}: from ${low / mib} to ${high / mib} MiB/s`)
  }
})

test('a disk that is saturated without the copy leaves it its floor, and no less', () => {
  const run = runDisk({ clients: [{ perSecond: steady(9000) }], seconds: 30 })
  assert.ok(run.looks.every(({ limits }) => (limits[0] ?? 0) >= 8 * mib))
  const late = run.looks.filter(({ ms }) => ms > 5000).map(({ limits }) => limits[0] ?? 0)
  assert.ok(mean(late) < 20 * mib, `${mean(late) / mib} MiB/s`)
})

test('beside an idle client the copy has no limit', () => {
  const run = runDisk({ clients: [{ perSecond: steady(0) }], seconds: 6 })
  assert.equal(run.looks.at(-1)?.limits[0], Infinity)
})

test('a client that wakes up beside a copy at full speed is measured, and then has its bound', () => {
  const shares = seeds.map((seed) => {
    const perSecond = (ms: number): number => (ms > 5000 ? 500 : 0)
    const run = runDisk({ seed, clients: [{ perSecond }], seconds: 40 })
    const soon = run.looks.find(({ ms }) => ms >= 6000)
    assert.ok((soon?.limits[0] ?? 0) <= 8 * mib, 'within a second it is at its floor')
    assert.equal(soon?.told[0]?.state, 'measuring')
    assert.ok(usedBetween(run, 0, 15_000, 40_000) > 100 * mib, `seed ${seed}`)
    return p99Between(run, 0, 12_000, 40_000) / (run.aloneMs[0] ?? 0)
  })
  assert.ok(mean(shares) < 2.1, `${shares.join(', ')}`)
})

test('hiccups that are not the copy’s cost it something, and do not starve it', () => {
  const noise = (ms: number): number => (Math.sin(ms / 700) > 0.95 ? 3 : 1)
  const run = runDisk({ clients: [{ perSecond: steady(500), noise }], seconds: 60, measuredBefore: true })
  assert.ok(usedBetween(run, 0, 10_000, 60_000) > 60 * mib)
})

test('a client whose own latency rises for good gets a new reference, and the copy does not stay at its floor', () => {
  const noise = (ms: number): number => (ms > 10_000 ? 4 : 1)
  const run = runDisk({ clients: [{ perSecond: steady(500), noise }], seconds: 90 })
  const soon = run.looks.filter(({ ms }) => ms >= 10_000 && ms < 12_000).map(({ limits }) => limits[0] ?? 0)
  assert.ok(Math.min(...soon) < 20 * mib, 'first the copy is suspected')
  assert.ok(usedBetween(run, 0, 60_000, 90_000) > 60 * mib)
})

test('with few requests nothing is concluded from one that was slow', () => {
  const noise = (ms: number): number => (Math.floor(ms / 10) % 400 === 7 ? 30 : 1)
  const run = runDisk({ clients: [{ perSecond: steady(30), noise }], seconds: 60 })
  assert.ok(usedBetween(run, 0, 10_000, 60_000) > 50 * mib)
})

test('a disk that becomes slower takes its copy along', () => {
  const capacityBps = (ms: number): number => (ms > 20_000 ? 100 * mib : 400 * mib)
  const run = runDisk({ clients: [{ perSecond: steady(500) }], seconds: 60, capacityBps })
  assert.ok(usedBetween(run, 0, 10_000, 20_000) > 200 * mib)
  assert.ok(p99Between(run, 0, 25_000, 60_000) < 2.3 * (run.aloneMs[0] ?? 0))
  assert.ok(usedBetween(run, 0, 25_000, 60_000) > 20 * mib)
})

test('copies that share a disk come to equal parts of it, whoever was first, and hold the bound together', () => {
  const copies = [{}, { beginsAt: 10_000 }, { beginsAt: 20_000 }]
  const run = runDisk({ clients: [{ perSecond: steady(500) }], copies, seconds: 80 })
  const used = copies.map((_copy, i) => usedBetween(run, i, 50_000, 80_000))
  assert.ok(Math.max(...used) / Math.min(...used) < 1.3, used.map((each) => each / mib).join(', '))
  assert.ok(mean(used) * 3 > 200 * mib)
  assert.ok(p99Between(run, 0, 40_000, 80_000) < 2.2 * (run.aloneMs[0] ?? 0))
})

test('an absolute bound holds', () => {
  for (const ms of [3.5, 6, 15]) {
    const run = runDisk({ clients: [{ perSecond: steady(500) }], seconds: 60, pace: { kind: 'ms', ms } })
    const p99 = p99Between(run, 0, 10_000, 60_000)
    assert.ok(p99 < ms * 1.15, `bound ${ms} ms, p99 ${p99}`)
    assert.ok(p99 > ms * 0.6, `bound ${ms} ms, p99 ${p99}: nothing is wasted`)
  }
})

test('where the disk is the limit and nobody waits too long, copies share it by weight all the same, and waste nothing', () => {
  const run = runDisk({
    seconds: 25,
    clients: [{ perSecond: () => 100 }],
    pace: { kind: 'ms', ms: 1000 },
    copies: [
      { weight: 4, startBps: 300 * mib },
      { weight: 1, startBps: 300 * mib },
    ],
  })
  const [high, low] = [0, 1].map((copy) => usedBetween(run, copy, 10_000, 25_000)) as [number, number]
  assert.ok(high > 2.5 * low && high < 5 * low, `${high / mib} and ${low / mib}`)
  assert.ok(high + low > 340 * mib, `${(high + low) / mib} together`)
})
