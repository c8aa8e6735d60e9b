import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memoryOf, zoneOf, type ComputeHost } from './topology.ts'

const host = (name: string, fields: Partial<ComputeHost> = {}): ComputeHost => ({
  name,
  machine: 'm',
  ...fields,
})

test('the memory of a machine is shared by its hosts, and none of it promised twice', () => {
  const [a, b, c] = [host('a'), host('b'), host('c', { memoryMiB: 4096 })]
  const elsewhere = host('d', { machine: 'n' })
  const of = (one: ComputeHost, all: ComputeHost[], machineMib?: number) =>
    memoryOf({ computeHosts: all }, one, machineMib)
  assert.equal(of(a, [a, elsewhere], 16384), 16384)
  assert.equal(of(a, [a, b, elsewhere], 16385), 8192)
  assert.equal(of(a, [a, b, c], 16384), 6144)
  assert.equal(of(c, [a, b, c], 16384), 4096, 'what the configuration says')
  assert.equal(of(a, [a, c], 2048), 0, 'more was promised than there is')
  assert.equal(of(a, [a, b]), 0, 'not known yet')
  assert.equal(of(c, [c]), 4096)
})

test('a host is in the zone that it names, else in that of the file', () => {
  const topology = { availabilityZone: 'nova' }
  assert.equal(zoneOf(topology, host('a')), 'nova')
  assert.equal(zoneOf(topology, host('a', { availabilityZone: 'east' })), 'east')
})
