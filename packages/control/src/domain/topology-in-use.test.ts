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
    assert.deepEqual(missingPlaces(topology, inUse, []), [])
    assert.deepEqual(missingPlaces(topology, { clusters: [], aggregates: [], computeHosts: [] }, []), [])
  })

  it('without a place in use is refused, and each place is named', () => {
    const more: PlacesInUse = {
      clusters: [...inUse.clusters, { name: 'b', volumes: 1 }],
      aggregates: [...inUse.aggregates, { node: 'a-01', aggregate: 'aggr2', images: 2 }],
      computeHosts: [...inUse.computeHosts, { name: 'compute-2', servers: 1 }],
    }
    assert.deepEqual(missingPlaces(topology, more, []), [
      'cluster b (1 volume)',
      'aggregate aggr2 of node a-01 (2 images)',
      'compute host compute-2 (1 server)',
    ])
    assert.throws(() => requirePlaces(topology, more, []), { code: 'conflict', message: /Put it back/ })
  })

  it('has the aggregates that were made at run time, on nodes that it names', () => {
    const there: PlacesInUse = {
      ...inUse,
      aggregates: [...inUse.aggregates, { node: 'a-01', aggregate: 'aggr2', images: 2 }],
    }
    const made = { cluster: 'a', node: 'a-01', name: 'aggr2', path: '/aggr2' }
    assert.deepEqual(missingPlaces(topology, there, [made]), [])
    assert.deepEqual(missingPlaces(topology, there, [{ ...made, node: 'a-02' }]), [
      'aggregate aggr2 of node a-01 (2 images)',
    ])
  })

  it('may take such an aggregate over, but not give its name to another', () => {
    const made = { cluster: 'a', node: 'a-01', name: 'aggr1', path: '/a' }
    assert.doesNotThrow(() => requirePlaces(topology, inUse, [made]))
    for (const other of [
      { ...made, path: '/b' },
      { ...made, node: 'a-02' },
    ]) {
      assert.throws(() => requirePlaces(topology, inUse, [other]), {
        code: 'conflict',
        message: /one was made at run time/,
      })
    }
    assert.doesNotThrow(() => requirePlaces(topology, inUse, [{ ...made, cluster: 'b', path: '/b' }]))
  })
})
