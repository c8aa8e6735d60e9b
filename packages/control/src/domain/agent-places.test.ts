import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { agentPlaces } from './agent-places.ts'
import type { ComputeHost, StorageNode, Topology } from './topology.ts'

const node = (name: string, machine: string, agent?: string): StorageNode => ({
  name,
  machine,
  dataAddress: '127.250.0.1',
  aggregates: [{ name: 'aggr1', path: `/srv/${name}` }],
  ...(agent === undefined ? {} : { agent }),
})
const host = (name: string, machine: string, agent?: string): ComputeHost => ({
  name,
  machine,
  ...(agent === undefined ? {} : { agent }),
})
const topologyOf = (nodes: StorageNode[], computeHosts: ComputeHost[], agents?: 'processes'): Topology => ({
  host: 'here',
  availabilityZone: 'nova',
  clusters: nodes.map((one) => ({ name: `cluster-${one.name}`, nodes: [one], flexvols: [] })),
  computeHosts,
  ...(agents === undefined ? {} : { agents }),
})

/** Each process with what it has: storage nodes, machines of holders, compute hosts. */
const seen = (topology: Topology): Record<string, string> =>
  Object.fromEntries(
    agentPlaces(topology).map(({ name, place, plan }) => [
      name,
      [
        place.kind === 'remote' ? place.url : place.kind,
        ...plan.storage.map((one) => `s:${one.node}`),
        ...plan.holders.map((one) => `h:${one.machine}`),
        ...plan.compute.map((one) => `c:${one.host}`),
      ].join(' '),
    ]),
  )

describe('which agents are in which process', () => {
  const nodes = [node('n1', 'm1'), node('n2', 'm1'), node('n3', 'm2')]
  const hosts = [host('c1', 'm1'), host('c2', 'm3')]

  it('all of them inside the control plane, unless something else is said', () => {
    assert.deepEqual(seen(topologyOf(nodes, hosts)), {
      here: 'inside s:n1 s:n2 s:n3 h:m1 h:m3 h:m2 c:c1 c:c2',
    })
  })

  it('as processes: two for each machine; its holders are with its compute hosts, else with its storage nodes', () => {
    assert.deepEqual(seen(topologyOf(nodes, hosts, 'processes')), {
      'm1-storage': 'process s:n1 s:n2',
      'm1-compute': 'process h:m1 c:c1',
      'm3-compute': 'process h:m3 c:c2',
      'm2-storage': 'process s:n3 h:m2',
    })
  })

  it('at an address: that one elsewhere, the rest as before', () => {
    const away = topologyOf([node('n1', 'm1', 'https://m1:1'), node('n3', 'm2')], hosts)
    assert.deepEqual(seen(away), {
      here: 'inside s:n3 h:m1 h:m3 h:m2 c:c1 c:c2',
      'm1-storage': 'https://m1:1 s:n1',
    })
  })

  it('storage and compute of a machine at one address are one process', () => {
    const one = topologyOf([node('n1', 'm1', 'https://m1:1')], [host('c1', 'm1', 'https://m1:1')])
    assert.deepEqual(seen(one), { m1: 'https://m1:1 s:n1 h:m1 c:c1' })
    const two = topologyOf([node('n1', 'm1', 'https://m1:1')], [host('c1', 'm1', 'https://m1:2')])
    assert.deepEqual(seen(two), {
      'm1-storage': 'https://m1:1 s:n1',
      'm1-compute': 'https://m1:2 h:m1 c:c1',
    })
  })

  it('folders are the same wherever an agent runs: it finds what it left behind', () => {
    const folders = (topology: Topology): string[] =>
      agentPlaces(topology)
        .flatMap(({ plan }) => [...plan.storage, ...plan.holders, ...plan.compute])
        .map(({ state, run }) => `${state} ${run}`)
        .sort()
    assert.deepEqual(folders(topologyOf(nodes, hosts)), folders(topologyOf(nodes, hosts, 'processes')))
    assert.equal(new Set(folders(topologyOf(nodes, hosts)).map((both) => both.split(' ')[1])).size, 8)
  })

  it('names that two machines would share are refused', () => {
    const clash = topologyOf(
      [node('n1', 'a')],
      [host('c1', 'a-storage', 'https://x:1'), host('c2', 'b')],
      'processes',
    )
    assert.deepEqual(Object.keys(seen(clash)), ['a-storage-compute', 'b-compute', 'a-storage'])
    const both = [node('n1', 'a'), node('n2', 'a-storage', 'https://x:1')]
    assert.throws(
      () => agentPlaces(topologyOf(both, [host('c1', 'a-storage', 'https://x:1')], 'processes')),
      /would be named 'a-storage'/,
    )
  })
})
