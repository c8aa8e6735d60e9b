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
      shares: { backend: 'manila-a', lif: '10.0.0.1', node: 'a-01' },
    },
  ],
  computeHosts: [{ name: 'compute-1', machine: 'm' }],
}
const inUse: PlacesInUse = {
  clusters: [{ name: 'a', volumes: 3 }],
  aggregates: [{ node: 'a-01', aggregate: 'aggr1', images: 3 }],
  computeHosts: [{ name: 'compute-1', servers: 1 }],
  shares: [{ cluster: 'a', lif: '10.0.0.1', node: 'a-01', shares: 2 }],
}

describe('a configuration', () => {
  it('may have more than is in use', () => {
    assert.deepEqual(missingPlaces(topology, inUse, []), [])
    assert.deepEqual(
      missingPlaces(topology, { clusters: [], aggregates: [], computeHosts: [], shares: [] }, []),
      [],
    )
  })

  it('without a place in use is refused, and each place is named', () => {
    const more: PlacesInUse = {
      ...inUse,
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

  it('keeps the LIF and the node of shares, whatever their backend is called', () => {
    const [cluster, ...others] = topology.clusters
    const withShares = (shares: NonNullable<typeof cluster>['shares']): Topology => {
      const { shares: _before, ...rest } = cluster as NonNullable<typeof cluster>
      return { ...topology, clusters: [{ ...rest, ...(shares && { shares }) }, ...others] }
    }
    const renamed = withShares({ backend: 'manila-b', lif: '10.0.0.1', node: 'a-01' })
    assert.deepEqual(missingPlaces(renamed, inUse, []), [])
    assert.deepEqual(missingPlaces(withShares(undefined), inUse, []), [
      'shares of cluster a at the LIF 10.0.0.1 on node a-01 (2 shares)',
    ])
    assert.deepEqual(missingPlaces(withShares(undefined), { ...inUse, shares: [] }, []), [])
    const elsewhere = withShares({ backend: 'manila-a', lif: '10.0.0.2', node: 'a-01' })
    assert.deepEqual(missingPlaces(elsewhere, inUse, []), [
      'shares of cluster a at the LIF 10.0.0.1 on node a-01 (2 shares; the file says 10.0.0.2 on node a-01 instead)',
    ])
    const otherNode = withShares({ backend: 'manila-a', lif: '10.0.0.1', node: 'a-02' })
    assert.throws(() => requirePlaces(otherNode, inUse, []), {
      code: 'conflict',
      message: /on node a-01 \(2 shares; the file says 10\.0\.0\.1 on node a-02 instead\)\. Put it back/,
    })
    const unserved = { ...inUse, shares: [{ cluster: 'a', lif: '10.0.0.1', node: null, shares: 1 }] }
    assert.deepEqual(missingPlaces(otherNode, unserved, []), [])
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
