/** Whose fault is it: the governor beside clients that become slow by themselves, and beside disks that copies fill. Simulated. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  mib,
  p99Between,
  runDisk,
  turnsIn,
  usedBetween,
  type DiskModel,
  type DiskRun,
} from '../testing/governed-disk.ts'

const seeds = [1, 2, 3, 4, 5, 6]
const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

interface Case {
  run: DiskRun
  /** The same clients without a copy. */
  alone: DiskRun
}

/** Of each seed: a client of 500 requests a second, and what the rest of the world does to its latency. */
const runs = (noise: (ms: number) => number, model: Partial<DiskModel> = {}): Case[] =>
  seeds.map((seed) => {
    const all = { seed, clients: [{ perSecond: () => 500, noise }], seconds: 60, ...model }
    return { run: runDisk(all), alone: runDisk({ ...all, copies: [] }) }
  })

const factor = ({ run, alone }: Case, from: number, to: number): number =>
  p99Between(run, 0, from, to) / p99Between(alone, 0, from, to)

/** What a copy may have of this disk so that its queue makes everything twice as long, bytes per second. */
const allowedBps = (0.84 * 400 - (500 * 48) / 1024) * mib

const told = (values: number[]): string => values.map((value) => value.toFixed(2)).join(', ')

test('of what the bound allows the copy has three quarters, and its looks without a copy cost little', () => {
  const shares = runs(() => 1).map(({ run }) => usedBetween(run, 0, 10_000, 60_000) / allowedBps)
  assert.ok(Math.min(...shares) >= 0.75, told(shares))
})

for (const times of [3, 10]) {
  test(`a client that waits ${times} times as long by itself is recognised: within five seconds the copy is as fast as before`, () => {
    const found = runs((ms) => (ms > 20_000 ? times : 1))
    const before = found.map(({ run }) => usedBetween(run, 0, 10_000, 20_000))
    const soon = found.map(({ run }, i) => usedBetween(run, 0, 25_000, 30_000) / (before[i] ?? 0))
    const late = found.map(({ run }, i) => usedBetween(run, 0, 30_000, 60_000) / (before[i] ?? 0))
    assert.ok(mean(soon) >= 0.8, told(soon))
    assert.ok(Math.min(...late) >= 0.8, told(late))
    const factors = found.map((one) => factor(one, 25_000, 60_000))
    assert.ok(mean(factors) <= 2, told(factors))
    assert.ok(Math.max(...found.map(({ run }) => turnsIn(run, 25_000, 60_000))) <= 30)
  })
}

test('where that is over the client has its own bound again, within some ten seconds', () => {
  const found = runs((ms) => (ms > 20_000 && ms <= 40_000 ? 3 : 1), { seconds: 75 })
  const factors = found.map((one) => factor(one, 55_000, 75_000))
  assert.ok(mean(factors) <= 2.2, told(factors))
})

test('a client that becomes slower bit by bit takes nothing from the copy', () => {
  const found = runs((ms) => 1 + Math.max(0, Math.min(2, (ms - 10_000) / 30_000)), { seconds: 90 })
  const shares = found.map(({ run }) => usedBetween(run, 0, 20_000, 90_000) / allowedBps)
  assert.ok(mean(shares) >= 0.6, told(shares))
  const factors = found.map((one) => factor(one, 10_000, 90_000))
  assert.ok(mean(factors) <= 2, told(factors))
})

test('bursts of the rest of the world cost the copy something, and do not starve it', () => {
  for (const [everyMs, forMs, times] of [
    [2000, 300, 3],
    [2000, 1000, 3],
    [3100, 300, 10],
  ] as const) {
    const found = runs((ms) => (ms % everyMs < forMs ? times : 1))
    const shares = found.map(({ run }) => usedBetween(run, 0, 10_000, 60_000) / allowedBps)
    assert.ok(mean(shares) >= 0.4, `${everyMs}, ${forMs}, ${times}: ${told(shares)}`)
    assert.ok(Math.min(...shares) >= 0.25, `${everyMs}, ${forMs}, ${times}: ${told(shares)}`)
  }
})

test('both together: beside a client that is slow by itself the copy’s own effect is seen within a second', () => {
  const capacityBps = (ms: number): number => (ms > 40_000 ? 120 * mib : 400 * mib)
  for (const { run } of runs((ms) => (ms > 20_000 ? 3 : 1), { capacityBps })) {
    const limitAt = (from: number): number => run.looks.find(({ ms }) => ms >= from)?.limits[0] ?? 0
    assert.ok(limitAt(41_000) < 0.6 * limitAt(40_000), `${limitAt(40_000) / mib}, ${limitAt(41_000) / mib}`)
  }
})

test('copies that share a disk look at its client together, and go on together', () => {
  const noise = (ms: number): number => (ms > 30_000 ? 3 : 1)
  for (const { run } of runs(noise, { copies: [{}, {}] })) {
    const [one = 0, other = 0] = [0, 1].map((copy) => usedBetween(run, copy, 36_000, 60_000))
    assert.ok(one + other >= 0.6 * allowedBps, told([one / mib, other / mib]))
    assert.ok(Math.max(one, other) / Math.min(one, other) < 1.4, told([one / mib, other / mib]))
  }
})

test('a copy does not begin with a look without it, however long ago the latest one was; later it has its looks', () => {
  for (const { run } of runs(() => 1, { copies: [{ beginsAt: 10_000 }], seconds: 30 })) {
    const checkedAt = run.looks.filter(({ told }) => told[0]?.state === 'checking').map(({ ms }) => ms)
    assert.ok(checkedAt.length > 0)
    assert.ok((checkedAt[0] ?? 0) > 11_000, `${checkedAt[0]} ms`)
  }
})
