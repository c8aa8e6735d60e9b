import type { EvacuationGroup } from './automatic-evacuation.ts'
import type { AggregateDefinition } from '@volant/contract'

/**
 * Clusters, nodes, aggregates, FlexVols and compute hosts as the configuration file names them (`volant.yaml`).
 * Fixed while Volant runs, except where a FlexVol is: that is in the database, because FlexVols move.
 */
export interface Topology {
  /** The first part of every host string: `HOST@cluster#pool`. */
  host: string
  /** Of volumes, shares, and of compute hosts that name no other. */
  availabilityZone: string
  clusters: Cluster[]
  computeHosts: ComputeHost[]
  /** Hosts that are given up, and evacuated, without anybody's word; absent: none. */
  evacuation?: EvacuationGroup[]
  /** How agents without an address of their own run; absent: inside the control plane's process. */
  agents?: 'processes'
}

export interface Cluster {
  /** The Cinder backend's name, for example `cinder-lma`. */
  name: string
  /** Where its ONTAP REST API listens, on the loopback address; absent: there, at any free port. */
  management?: { host: string; port: number }
  nodes: StorageNode[]
  flexvols: FlexVolDefinition[]
  /** How it serves shares; absent: it has none. */
  shares?: ShareService
}

/** The shares of a cluster: a Manila backend, and the NFS server of its SVM. */
export interface ShareService {
  /** The Manila backend's name, for example `manila-lma`: `HOST@manila-lma#aggr1`. */
  backend: string
  /** The address at which its shares are mounted, and the only one at which the NFS server listens. */
  lif: string
  /** The storage node that has the LIF. */
  node: string
}

export interface StorageNode {
  /** Unique among all clusters. */
  name: string
  /** Processes of one machine open its images as files; those of others through its export daemons. */
  machine: string
  /** Address of the export daemons. */
  dataAddress: string
  /** Network namespace in which the node's data-plane processes run. */
  netns?: string
  /** `https://HOST:PORT` of the process with this machine's storage agents, which somebody else starts. */
  agent?: string
  aggregates: Aggregate[]
}

export type Aggregate = AggregateDefinition

export interface FlexVolDefinition {
  name: string
  lif: string
  junctionPath: string
  node: string
  aggregate: string
}

export interface ComputeHost {
  name: string
  machine: string
  /** Where guests from other hosts are received; absent: the loopback address, for hosts of one machine. */
  dataAddress?: string
  netns?: string
  /** As of a storage node: the process with this machine's compute agents. */
  agent?: string
  /** Absent: the topology's. */
  availabilityZone?: string
  vcpus?: number
  memoryMiB?: number
}

/** The zone of a compute host's servers. */
export const zoneOf = (
  topology: Pick<Topology, 'availabilityZone'>,
  host: Pick<ComputeHost, 'availabilityZone'> | undefined,
): string => host?.availabilityZone ?? topology.availabilityZone

/**
 * MiB that the servers of a compute host may have: what the configuration says; else, of what the machine has, an equal
 * share with its other hosts that say nothing either, so that no memory is promised twice. Absent `machineMib`: not known.
 */
export function memoryOf(
  topology: Pick<Topology, 'computeHosts'>,
  host: Pick<ComputeHost, 'machine' | 'memoryMiB'>,
  machineMib: number | undefined,
): number {
  if (host.memoryMiB !== undefined) return host.memoryMiB
  const there = topology.computeHosts.filter(({ machine }) => machine === host.machine)
  const promised = there.reduce((sum, { memoryMiB = 0 }) => sum + memoryMiB, 0)
  const sharing = there.filter(({ memoryMiB }) => memoryMiB === undefined).length
  return Math.max(0, Math.floor(((machineMib ?? 0) - promised) / Math.max(1, sharing)))
}

/** The zone of what is no compute host, Nova's `internal_service_availability_zone`. */
export const internalZone = 'internal'

/** The Manila backend of a cluster, where it has no other name. */
export const shareBackendOf = (cluster: string): string => `manila-${cluster.replace(/^cinder-/, '')}`

/** The pool's name within its backend: `LIF:/junction`. */
export const poolName = (flexvol: { lif: string; junctionPath: string }): string =>
  `${flexvol.lif}:${flexvol.junctionPath}`
