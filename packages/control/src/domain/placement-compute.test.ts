import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chooseHost, refusalOf, type GroupPlaces, type HostCapacity } from './placement-compute.ts'

const up = { disabled: false, disabledReason: null, forcedDown: false, up: true }
const host = (name: string, fields: Partial<HostCapacity> = {}): HostCapacity => ({
  name,
  availabilityZone: 'nova',
  service: up,
  vcpus: 2,
  memoryMib: 4096,
  usedVcpus: 0,
  usedMemoryMib: 0,
  ...fields,
})
const small = { vcpus: 1, memoryMib: 512 }
const group = (policy: GroupPlaces['policy'], others: string[][], maxServerPerHost = 1): GroupPlaces => ({
  name: 'g',
  policy,
  maxServerPerHost,
  others: others.map((hosts, index) => ({ id: `s${index + 1}`, hosts })),
})

test('the host with the most free memory is chosen, of equals the first by name', () => {
  assert.equal(chooseHost([host('b'), host('a')], small), 'a')
  assert.equal(chooseHost([host('a', { usedMemoryMib: 512 }), host('b')], small), 'b')
})

test('memory is never given out twice, processors four times', () => {
  assert.equal(chooseHost([host('a', { usedMemoryMib: 3585 })], small), undefined)
  assert.equal(chooseHost([host('a', { usedMemoryMib: 3584 })], small), 'a')
  assert.equal(chooseHost([host('a', { usedVcpus: 7 })], small), 'a')
  assert.equal(chooseHost([host('a', { usedVcpus: 8 })], small), undefined)
  assert.equal(chooseHost([host('a')], { vcpus: 3, memoryMib: 1 }), undefined, 'more than the host has')
})

test('a host that cannot be used is not, even where it was asked for by name', () => {
  const hosts = [host('a', { service: { ...up, disabled: true } }), host('b')]
  assert.equal(chooseHost(hosts, small), 'b')
  assert.equal(chooseHost(hosts, { ...small, host: 'a' }), undefined)
  assert.equal(chooseHost(hosts, { ...small, host: 'b' }), 'b')
  assert.equal(chooseHost(hosts, { ...small, availabilityZone: 'mars' }), undefined)
})

test('each refusal has its own reason', () => {
  const cases: [Partial<HostCapacity>, object, string | undefined][] = [
    [{}, {}, undefined],
    [{ service: { ...up, disabled: true } }, {}, 'is disabled'],
    [{ service: { ...up, disabled: true, disabledReason: 'new fan' } }, {}, 'is disabled: new fan'],
    [{ service: { ...up, up: false } }, {}, 'is down: its agent does not answer'],
    [
      { service: { ...up, up: false, forcedDown: true, disabled: true } },
      {},
      'is down: an administrator forced it down',
    ],
    [{}, { source: 'a' }, 'is where the server is'],
    [{}, { source: 'b' }, undefined],
    [
      { availabilityZone: 'east' },
      { availabilityZone: 'west' },
      'is in availability zone east, and the server belongs in west',
    ],
    [{ usedMemoryMib: 3840 }, {}, 'has too little memory: 512 MiB are needed, 256 of 4096 MiB are free'],
    [
      { memoryMib: 256, usedMemoryMib: 400 },
      {},
      'has too little memory: 512 MiB are needed, 0 of 256 MiB are free',
    ],
    [{}, { vcpus: 3 }, 'has too few processors: 3 vCPUs are needed, it has 2 processors'],
    [{ usedVcpus: 7 }, { vcpus: 2 }, 'has too few vCPUs: 2 are needed, 1 of 8 are free'],
  ]
  for (const [fields, request, reason] of cases) {
    assert.equal(refusalOf(host('a', fields), { ...small, ...request }), reason)
  }
})

test('anti-affinity keeps servers apart, also from one that is on its way', () => {
  const request = { ...small, group: group('anti-affinity', [['a'], ['b', 'c']]) }
  assert.equal(
    refusalOf(host('a'), request),
    "has server s1 of server group 'g' (anti-affinity, 1 for each host)",
  )
  assert.match(refusalOf(host('c'), request) ?? '', /has server s2/)
  assert.equal(refusalOf(host('d'), request), undefined)
  const two = { ...small, group: group('anti-affinity', [['a'], ['b'], ['b']], 2) }
  assert.equal(refusalOf(host('a'), two), undefined)
  assert.match(refusalOf(host('b'), two) ?? '', /has server s2, s3 .*2 for each host/)
})

test('affinity keeps them together; the first goes anywhere', () => {
  assert.equal(refusalOf(host('b'), { ...small, group: group('affinity', []) }), undefined)
  assert.equal(refusalOf(host('b'), { ...small, group: group('affinity', [[]]) }), undefined)
  const request = { ...small, group: group('affinity', [['a'], ['a']]) }
  assert.equal(refusalOf(host('a'), request), undefined)
  assert.equal(refusalOf(host('b'), request), "is not where server group 'g' (affinity) is: a")
})

test('soft policies prefer, and forbid nothing', () => {
  const hosts = [host('a', { usedMemoryMib: 2048 }), host('b')]
  assert.equal(chooseHost(hosts, { ...small, group: group('soft-affinity', [['a']]) }), 'a')
  assert.equal(chooseHost([host('b')], { ...small, group: group('soft-affinity', [['a']]) }), 'b')
  assert.equal(
    chooseHost(hosts, { ...small, group: group('soft-anti-affinity', [['b'], ['b'], ['a']]) }),
    'a',
  )
  assert.equal(chooseHost([host('b')], { ...small, group: group('soft-anti-affinity', [['b']]) }), 'b')
})
