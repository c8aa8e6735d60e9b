import type { ComputeAgent, HolderAgent, ShareAgent, StorageAgent } from '@volant/contract'

/** The node agents by the names that the topology gives; each throws `unavailable` for one that is not there. */
export interface Agents {
  storage(node: string): StorageAgent
  /** Holders of a machine. */
  holders(machine: string): HolderAgent
  compute(host: string): ComputeAgent
  /** Of a storage node. */
  shares(node: string): ShareAgent
}

/** One process of agents, as the control plane sees it. */
export interface AgentProcessState {
  name: string
  /** In the control plane's process, in one that it starts, or in one that somebody else does. */
  place: 'inside' | 'process' | 'remote'
  /** Null where it does not run, or on another machine. */
  pid: number | null
  url: string | null
  up: boolean
  since: Date
  /** Why it is away. */
  reason: string | null
  storageNodes: string[]
  machines: string[]
  computeHosts: string[]
}

export interface AgentProcesses {
  processes(): AgentProcessState[]
}
