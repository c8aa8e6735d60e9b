import type { FlavorSnapshot } from '../domain/flavor.ts'

export interface DestinationRequest {
  serverId: string
  /** An administrator's choice; where the server can't be on it, that is refused with the reason. */
  host?: string
  /** Hosts that are not to be chosen: those that refused it, or that are emptied as well. */
  except?: readonly string[]
  /** Only one of these; absent: any. */
  among?: readonly string[]
  /** Of a resize; absent: the server's own. */
  flavor?: Pick<FlavorSnapshot, 'vcpus' | 'memoryMib'>
  /** As if the service of a host were disabled, or enabled: what a plan is made for. */
  supposing?: { host: string; disabled: boolean }
}

export interface Candidate {
  host: string
  /** Why the server can't be on it, to be read after the host's name; null: it can. */
  refusal: string | null
  freeMemoryMib: number
  freeVcpus: number
}

/** The scheduler, as those use it who move servers to other hosts. */
export interface Destinations {
  /** Every host, as it would be judged now; never the one that the server is on. */
  candidates(request: DestinationRequest): Promise<Candidate[]>
  /**
   * Chooses a destination and holds room for it: `store` is called with it, in turn with all others who choose, and must
   * write the row of `server_migrations` that `reserves` it before it returns. Throws `invalid` with "No valid host was found"
   * and the reason of each host, or of the one that was asked for.
   */
  choose(request: DestinationRequest, store: (host: string) => Promise<void>): Promise<string>
}
