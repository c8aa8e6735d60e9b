import { DomainError } from '@volant/contract'
import type { Topology } from './topology.ts'

/** Where something lives, and how much. */
export interface PlacesInUse {
  /** Clusters with volumes in their pools. */
  clusters: { name: string; volumes: number }[]
  /** Aggregates with images, of volumes and of what migrations left. */
  aggregates: { node: string; aggregate: string; images: number }[]
  computeHosts: { name: string; servers: number }[]
}

const of = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`

/** What the topology lacks and something lives in, as a list for people; empty where it has everything. */
export function missingPlaces(topology: Topology, inUse: PlacesInUse): string[] {
  const clusters = new Set(topology.clusters.map(({ name }) => name))
  const hosts = new Set(topology.computeHosts.map(({ name }) => name))
  const nodes = topology.clusters.flatMap((cluster) => cluster.nodes)
  const aggregates = new Set(
    nodes.flatMap((node) => node.aggregates.map(({ name }) => `${node.name}/${name}`)),
  )
  return [
    ...inUse.clusters
      .filter(({ name }) => !clusters.has(name))
      .map(({ name, volumes }) => `cluster ${name} (${of(volumes, 'volume')})`),
    ...inUse.aggregates
      .filter(({ node, aggregate }) => !aggregates.has(`${node}/${aggregate}`))
      .map(
        ({ node, aggregate, images }) => `aggregate ${aggregate} of node ${node} (${of(images, 'image')})`,
      ),
    ...inUse.computeHosts
      .filter(({ name }) => !hosts.has(name))
      .map(({ name, servers }) => `compute host ${name} (${of(servers, 'server')})`),
  ]
}

/**
 * Refuses a configuration without the places of what there is: nobody would look after guests that run on there,
 * and volumes would be out of reach.
 */
export function requirePlaces(topology: Topology, inUse: PlacesInUse): void {
  const missing = missingPlaces(topology, inUse)
  if (missing.length === 0) return
  throw new DomainError(
    'conflict',
    `the configuration lacks what is in use: ${missing.join('; ')}. Put it back, and empty it before it goes.`,
  )
}
