import type { LiveMigrationRefusal, LiveMigrationRequest } from './live-migrations.ts'

/** As of a live migration. The server is powered off, goes, and runs again where it ran. */
export type ColdMigrationRequest = LiveMigrationRequest

/** How other operations, such as a drain, have servers moved cold. Nobody is asked to confirm: such a move ends confirmed. */
export interface ColdMigrations {
  /** Every precondition; changes nothing. Null: it can be started, to `host` where the request names none. */
  check(
    request: Pick<ColdMigrationRequest, 'serverId' | 'host' | 'except' | 'among'>,
  ): Promise<LiveMigrationRefusal | null>
  /** Starts `server.resize`, after the same checks; durable when it resolves. Throws, and changes nothing, where one fails. */
  start(request: ColdMigrationRequest): Promise<{ operationId: string }>
}
