import { resolve } from 'node:path'
import { DomainError } from '@volant/contract'
import type { Topology } from './topology.ts'

/** Where something lives, and how much. */
export interface PlacesInUse {
  /** Clusters with volumes in their pools. */
  clusters: { name: string; volumes: number }[]
  /** Aggregates with images, of volumes and of what migrations left. */
  aggregates: { node: string; aggregate: string; images: number }[]
  computeHosts: { name: string; servers: number }[]
  /** Where clients mount shares, and the nodes that serve them. */
  shares: SharesInUse[]
}

export interface SharesInUse {
  cluster: string
  lif: string
  /** Null: no node serves them now. */
  node: string | null
  shares: number
}

const of = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`

/** An aggregate that was made at run time. */
export interface MadeAggregate {
  cluster: string
  node: string
  name: string
  path: string
}

/**
 * What the topology lacks and something lives in, as a list for people; empty where it has everything. `made`: what it
 * has beside the configuration, on the nodes that this still names.
 */
export function missingPlaces(
  topology: Topology,
  inUse: PlacesInUse,
  made: readonly MadeAggregate[],
): string[] {
  const clusters = new Set(topology.clusters.map(({ name }) => name))
  const hosts = new Set(topology.computeHosts.map(({ name }) => name))
  const nodes = topology.clusters.flatMap((cluster) => cluster.nodes)
  const aggregates = new Set(
    nodes.flatMap((node) =>
      [...node.aggregates, ...made.filter((one) => one.node === node.name)].map(
        ({ name }) => `${node.name}/${name}`,
      ),
    ),
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
    ...inUse.shares.flatMap((used) => lackingShares(topology, used)),
  ]
}

/** Clients have the LIF in their mounts, and its node has the file systems: neither can change under them. */
function lackingShares(topology: Topology, { cluster, lif, node, shares }: SharesInUse): string[] {
  const service = topology.clusters.find(({ name }) => name === cluster)?.shares
  if (service?.lif === lif && (node === null || service.node === node)) return []
  const where = `the LIF ${lif}${node === null ? '' : ` on node ${node}`}`
  const instead =
    service === undefined ? '' : `; the file says ${service.lif} on node ${service.node} instead`
  return [`shares of cluster ${cluster} at ${where} (${of(shares, 'share')}${instead})`]
}

/**
 * Refuses a configuration without the places of what there is: nobody would look after guests that run on there,
 * and volumes would be out of reach.
 */
export function requirePlaces(topology: Topology, inUse: PlacesInUse, made: readonly MadeAggregate[]): void {
  requireDistinct(topology, made)
  const missing = missingPlaces(topology, inUse, made)
  if (missing.length === 0) return
  throw new DomainError(
    'conflict',
    `the configuration lacks what is in use: ${missing.join('; ')}. Put it back, and empty it before it goes.`,
  )
}

/** The configuration may take an aggregate over that was made at run time, as it is; not its name for another. */
function requireDistinct(topology: Topology, made: readonly MadeAggregate[]): void {
  for (const cluster of topology.clusters) {
    for (const node of cluster.nodes) {
      for (const { name, path } of node.aggregates) {
        const other = made.find((one) => one.cluster === cluster.name && one.name === name)
        if (other === undefined || (other.node === node.name && other.path === resolve(path))) continue
        throw new DomainError(
          'conflict',
          `the configuration names an aggregate ${name} of cluster ${cluster.name}, and one was made at run time, on node ${other.node} at ${other.path}. Choose another name.`,
        )
      }
    }
  }
}
