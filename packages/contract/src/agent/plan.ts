import type { AggregateDefinition } from './storage.ts'

/**
 * What the agents of one process are made of: a part of the topology, as the control plane tells it. Folders are
 * below the process's state folder (`state`) and its folder of sockets (`run`).
 */
export interface AgentPlan {
  storage: StoragePlan[]
  holders: HolderPlan[]
  compute: ComputePlan[]
  /** Of the shares of storage nodes. */
  shares: SharePlan[]
}

interface PlaceOfAgent {
  state: string
  run: string
  /** Name of the network namespace in which its data-plane processes run. */
  netns?: string
}

export interface StoragePlan extends PlaceOfAgent {
  node: string
  /** Whose client certificate it copies images to other nodes with; absent: called as the node. */
  machine?: string
  /** Address of the export daemons. */
  dataAddress: string
  aggregates: AggregateDefinition[]
}

export interface SharePlan extends PlaceOfAgent {
  node: string
}

export interface HolderPlan extends PlaceOfAgent {
  machine: string
}

export interface ComputePlan extends PlaceOfAgent {
  host: string
  /** Whose certificates its guests migrate with; absent: called as the host. */
  machine?: string
  /** Where guests from other hosts are received; absent: the loopback address. */
  dataAddress?: string
  memoryMiB?: number
}
