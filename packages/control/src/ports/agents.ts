import type { ComputeAgent, HolderAgent, StorageAgent } from '@volant/contract'

/** The node agents by the names that the topology gives; each throws `unavailable` for one that is not there. */
export interface Agents {
  storage(node: string): StorageAgent
  /** Holders of a machine. */
  holders(machine: string): HolderAgent
  compute(host: string): ComputeAgent
}
