import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  completionTimeoutMs,
  defaultLiveMigrationPolicy as policy,
  hostRefusal,
  judgeMemoryCopy,
  newMemoryCopy,
  unlimitedDowntimeMs,
  type MemoryCopy,
} from './live-migration.ts'

const given = { policy, memoryMib: 512, rate: null, force: false }
const status = (transferredBytes: number, remainingBytes: number) => ({
  totalBytes: 1000,
  transferredBytes,
  remainingBytes,
})

/** Looks at a copy that has made its first pass and is stuck with as much left as before. */
function stuckFor(ms: number, copy: MemoryCopy = newMemoryCopy(policy, 0), from = 0): MemoryCopy {
  let now = copy
  for (let at = from; at <= from + ms; at += 500) {
    now = judgeMemoryCopy(now, status(2000, 300), { ...given, now: at }).copy
  }
  return now
}

test('the downtime limit stays while the copy makes way, and in its first pass', () => {
  let copy = newMemoryCopy(policy, 0)
  for (let at = 0; at < 60_000; at += 500) {
    copy = judgeMemoryCopy(copy, status(at / 100, 1000 - at / 100), { ...given, now: at }).copy
  }
  assert.equal(copy.limits.downtimeMs, policy.firstDowntimeMs)
})

test('where it makes none the limit doubles after each patience, up to the longest', () => {
  assert.equal(stuckFor(policy.patienceMs - 500).limits.downtimeMs, 50)
  assert.equal(stuckFor(policy.patienceMs).limits.downtimeMs, 100)
  assert.equal(stuckFor(policy.patienceMs * 2).limits.downtimeMs, 200)
  assert.equal(stuckFor(policy.patienceMs * 20).limits.downtimeMs, policy.longestDowntimeMs)
})

test('800 s for each GiB, two at the least; then it is given up, or forced by policy', () => {
  assert.equal(completionTimeoutMs(policy, 512), 1_600_000)
  assert.equal(completionTimeoutMs(policy, 4096), 3_200_000)
  const copy = newMemoryCopy(policy, 0)
  const at = (now: number, timeoutAction: 'abort' | 'force_complete') =>
    judgeMemoryCopy(copy, status(2000, 300), { ...given, now, policy: { ...policy, timeoutAction } })
  assert.equal(at(1_599_999, 'abort').isOverdue, false)
  assert.equal(at(1_600_000, 'abort').isOverdue, true)
  const forced = at(1_600_000, 'force_complete')
  assert.equal(forced.isOverdue, false)
  assert.equal(forced.copy.limits.downtimeMs, unlimitedDowntimeMs)
})

test("a forced one has no limit, also when it is overdue; the operator's rate is its bandwidth", () => {
  const copy = newMemoryCopy(policy, 0)
  const forced = judgeMemoryCopy(copy, status(1, 999), { ...given, now: 9e9, force: true })
  assert.deepEqual([forced.isOverdue, forced.copy.limits.downtimeMs], [false, unlimitedDowntimeMs])
  const slow = judgeMemoryCopy(copy, status(1, 999), { ...given, now: 1, rate: 4096 })
  assert.equal(slow.copy.limits.bandwidth, 4096)
  assert.equal(judgeMemoryCopy(slow.copy, status(1, 999), { ...given, now: 2 }).copy.limits.bandwidth, 0)
})

const facts = {
  host: 'h',
  accelerator: 'tcg' as const,
  qemuVersion: '7.2.22',
  vcpus: 2,
  memoryMiB: 4096,
  freeMemoryMiB: 4096,
  localDiskGiB: 1,
  freeDiskGiB: 1,
  machines: ['pc-i440fx-7.2'],
  cpuModel: 'a',
  cpuFlagsDigest: 'f',
  bridges: ['br0'],
}
const hardware = { machine: 'pc-i440fx-7.2', accelerator: 'tcg' as const, pciAddresses: {} }
const server = {
  flavor: { name: 'f', vcpus: 1, memoryMib: 512, diskGib: 0, ephemeralGib: 0, swapMib: 0, extraSpecs: {} },
  nics: [{ bridge: 'br0', mac: 'x' }],
}

test('a host takes a guest where its QEMU, machine type, accelerator, processor, bridges and memory fit', () => {
  const why = (destination: object, source: object = {}) =>
    hostRefusal(server, { facts: { ...facts, ...source }, hardware }, { ...facts, ...destination })
  assert.equal(why({}), undefined)
  assert.equal(why({ qemuVersion: '7.2.4' }), undefined, 'of the same minor version')
  assert.equal(why({ qemuVersion: '8.0.0' }), undefined)
  assert.equal(why({ cpuModel: 'b', cpuFlagsDigest: 'g' }), undefined, 'under TCG any processor does')
  for (const [changed, text] of [
    [{ qemuVersion: '7.1.99' }, /has QEMU 7\.1\.99/],
    [{ accelerator: 'kvm' }, /runs guests with kvm/],
    [{ machines: [] }, /no machine type/],
    [{ bridges: [] }, /has no bridge br0/],
  ] as const) {
    const refusal = why(changed)
    assert.match(refusal?.reason ?? '', text)
    assert.equal(refusal?.passing, false)
  }
  const full = why({ freeMemoryMiB: 511 })
  assert.match(full?.reason ?? '', /512 MiB are needed, 511 MiB are free/)
  assert.equal(full?.passing, true)
})

test('under KVM the processor must be the same, and its flags', () => {
  const kvm = { ...facts, accelerator: 'kvm' as const }
  const why = (destination: object) =>
    hostRefusal(
      server,
      { facts: kvm, hardware: { ...hardware, accelerator: 'kvm' } },
      { ...kvm, ...destination },
    )?.reason
  assert.equal(why({}), undefined)
  assert.match(why({ cpuModel: 'b' }) ?? '', /has another processor: b, and the guest comes from a/)
  assert.match(why({ cpuFlagsDigest: 'g' }) ?? '', /other features/)
})
