export interface EvacuationRequest {
  serverId: string
  /** The destination; absent: the scheduler chooses. */
  host?: string
  /** The guest is not started there. */
  staysStopped?: boolean
  /** Who asks, for the migration's record and the server's list of actions. */
  by: { userId: string; projectId: string; requestId: string }
  /** The operation that it is a part of. */
  parent?: string
}

/** How servers are evacuated from a host that is down: by a request for one, or as parts of the host's evacuation. */
export interface Evacuations {
  /**
   * Every precondition; changes nothing. Throws `conflict` where the server's state or disk is against it, and `invalid`
   * where its host is up, or there is no host for it, each with the reason.
   */
  require(request: Pick<EvacuationRequest, 'serverId' | 'host'>): Promise<void>
  /** Starts `server.evacuate`, after the same checks; durable when it resolves. What is refused changes nothing. */
  start(request: EvacuationRequest): Promise<{ operationId: string }>
}
