import type { Way } from '../domain/host-drain.ts'

export interface RelocationRequest {
  way: Way
  serverId: string
  /** Where to; null where it stays on its host. */
  host: string | null
  /** The operation that it is a part of. */
  parent: string
  /** Who asked for that, for the server's list of actions. */
  by: { userId: string; projectId: string }
}

/** Why it can't be begun now. */
export interface RelocationRefusal {
  reason: string
  /** It may be gone by itself in a while: another operation holds the server or a volume, a host is away or full. */
  passing: boolean
}

/** The ways in which a server leaves its compute host, comes back, or is made still: each an operation, a part of another. */
export interface ServerRelocations {
  /** What is against it, without beginning it. Null: nothing is known. */
  check(request: Pick<RelocationRequest, 'way' | 'serverId' | 'host'>): Promise<RelocationRefusal | null>
  /** Durable when it resolves; what is refused changes nothing. Throws `staleFence`, and what nobody foresaw. */
  start(request: RelocationRequest): Promise<{ operationId: string } | RelocationRefusal>
}

/** What still runs on a compute host, as its agents say. */
export interface HostOccupants {
  /**
   * `left`: what runs there besides the `resting` servers (stopped, by their ids), in words. `alsoThere`: what the host's
   * machine has besides: it is not to be switched off with the host. Throws `unavailable` where an agent does not answer.
   */
  look(host: string, resting: ReadonlySet<string>): Promise<{ left: string[]; alsoThere: string[] }>
}
