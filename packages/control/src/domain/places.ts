import { DomainError } from '@volant/contract'
import type { Topology } from './topology.ts'
import type { Attachment } from './volume.ts'

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
  const machineOfNode = (node: string): string => lookUp(nodes, 'storage node', node)
  const machineOfHost = (host: string): string => lookUp(hosts, 'compute host', host)
  return {
    machineOfNode,
    machineOfHost,
    machineOf({ host, shareId }: Pick<Attachment, 'host' | 'shareId'>): string {
      if (host === null) throw new DomainError('conflict', 'The attachment has no host yet.')
      return shareId === null ? machineOfHost(host) : machineOfNode(host)
    },
  }
}
