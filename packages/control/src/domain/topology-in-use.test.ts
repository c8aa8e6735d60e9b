import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Topology } from './topology.ts'
import { missingPlaces, requirePlaces, type PlacesInUse } from './topology-in-use.ts'

const topology: Topology = {
  host: 'h',
  availabilityZone: 'nova',
  clusters: [
    {
      name: 'a',
      nodes: [
        { name: 'a-01', machine: 'm', dataAddress: '127.0.0.1', aggregates: [{ name: 'aggr1', path: '/a' }] },
      ],
      flexvols: [],
    },
  ],
  computeHosts: [{ name: 'compute-1', machine: 'm' }],
}
const inUse: PlacesInUse = {
  clusters: [{ name: 'a', volumes: 3 }],
  aggregates: [{ node: 'a-01', aggregate: 'aggr1', images: 3 }],
  computeHosts: [{ name: 'compute-1', servers: 1 }],
}

describe('a configuration', () => {
  it('may have more than is in use', () => {
    assert.deepEqual(missingPlaces(topology, inUse), [])
    assert.deepEqual(missingPlaces(topology, { clusters: [], aggregates: [], computeHosts: [] }), [])
  })

  it('without a place in use is refused, and each place is named', () => {
    const more: PlacesInUse = {
      clusters: [...inUse.clusters, { name: 'b', volumes: 1 }],
      aggregates: [...inUse.aggregates, { node: 'a-01', aggregate: 'aggr2', images: 2 }],
      computeHosts: [...inUse.computeHosts, { name: 'compute-2', servers: 1 }],
    }
    assert.deepEqual(missingPlaces(topology, more), [
      'cluster b (1 volume)',
      'aggregate aggr2 of node a-01 (2 images)',
      'compute host compute-2 (1 server)',
    ])
    assert.throws(() => requirePlaces(topology, more), { code: 'conflict', message: /Put it back/ })
  })
})
