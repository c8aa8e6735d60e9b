import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chooseHost, type HostCapacity } from './placement-compute.ts'

const host = (name: string, fields: Partial<HostCapacity> = {}): HostCapacity => ({
  name,
  availabilityZone: 'nova',
  usable: true,
  vcpus: 2,
  memoryMib: 4096,
  usedVcpus: 0,
  usedMemoryMib: 0,
  ...fields,
})
const small = { vcpus: 1, memoryMib: 512 }

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
  const hosts = [host('a', { usable: false }), host('b')]
  assert.equal(chooseHost(hosts, small), 'b')
  assert.equal(chooseHost(hosts, { ...small, host: 'a' }), undefined)
  assert.equal(chooseHost(hosts, { ...small, host: 'b' }), 'b')
  assert.equal(chooseHost(hosts, { ...small, availabilityZone: 'mars' }), undefined)
})
