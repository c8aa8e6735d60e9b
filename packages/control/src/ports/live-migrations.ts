export interface LiveMigrationRequest {
  serverId: string
  /** The destination; absent: the scheduler chooses. */
  host?: string
  /** Hosts that are not to be chosen. */
  except?: readonly string[]
  /** Only one of these; absent: any. */
  among?: readonly string[]
  /** Who asks, for the migration's record and the server's list of actions. */
  by: { userId: string; projectId: string; requestId: string }
  /** The operation that it is a part of. */
  parent?: string
}

/** Why a server can't be live-migrated now. */
export interface LiveMigrationRefusal {
  reason: string
  /** It may be gone by itself in a while: another operation holds the server or a volume, a host is away or full. */
  passing: boolean
}

/** How other operations, such as a drain, have servers live-migrated. */
export interface LiveMigrations {
  /** Every precondition; changes nothing. Null: it can be started, to `host` where the request names none. */
  check(
    request: Pick<LiveMigrationRequest, 'serverId' | 'host' | 'except' | 'among'>,
  ): Promise<LiveMigrationRefusal | null>
  /**
   * Starts `server.live-migrate`, after the same checks; durable when it resolves. Throws `LiveMigrationRefused` and
   * changes nothing where one fails.
   */
  start(request: LiveMigrationRequest): Promise<{ operationId: string }>
}
