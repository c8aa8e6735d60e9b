import { DomainError } from '@volant/contract'
import type { Topology } from './topology.ts'

/** Machines by the names of nodes and compute hosts. A name that the topology no longer has is `unavailable`. */
export function placesOf(topology: Topology) {
  const nodes = new Map(topology.clusters.flatMap((c) => c.nodes.map((n) => [n.name, n.machine] as const)))
  const hosts = new Map(topology.computeHosts.map((h) => [h.name, h.machine] as const))
  const lookUp = (map: Map<string, string>, kind: string, name: string): string => {
    const machine = map.get(name)
    if (machine === undefined) {
      throw new DomainError('unavailable', `The configuration names no ${kind} '${name}'.`)
    }
    return machine
  }
  return {
    machineOfNode: (node: string) => lookUp(nodes, 'storage node', node),
    machineOfHost: (host: string) => lookUp(hosts, 'compute host', host),
  }
}
