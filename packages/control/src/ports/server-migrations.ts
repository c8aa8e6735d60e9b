import type {
  ServerMigration,
  ServerMigrationKind,
  ServerMigrationStatus,
} from '../domain/server-migration.ts'
import type { Server } from '../domain/server.ts'

export interface ServerMigrationFilter {
  serverId?: string
  kinds?: readonly ServerMigrationKind[]
  statuses?: readonly ServerMigrationStatus[]
  /** Source or destination. */
  host?: string
  sourceHost?: string
  userId?: string
  projectId?: string
  /** ISO 8601, of `updatedAt`. */
  changedSince?: string
  changedBefore?: string
}

/** What operations and the application may do with the records of servers that change their host. */
export interface ServerMigrationRecords {
  /** By its id (the operation's), not its number. */
  find(id: string): Promise<ServerMigration | undefined>
  /** Throws `notFound`. */
  get(id: string): Promise<ServerMigration>
  findByNumber(serverId: string, number: number): Promise<ServerMigration | undefined>
  /** Newest first, those after the one with the id `marker`. Throws `invalid` for a marker that is none. */
  list(filter: ServerMigrationFilter, page?: { limit: number; marker?: string }): Promise<ServerMigration[]>
  /** Numbers and stores it; one with the same id that is there stays. `wasRunning` absent: it is true. */
  create(
    migration: Omit<ServerMigration, 'number' | 'wasRunning'> & { wasRunning?: boolean },
  ): Promise<ServerMigration>
  /** Changes only the given fields, and `updatedAt`. */
  update(id: string, fields: Partial<Omit<ServerMigration, 'id' | 'number'>>): Promise<void>
  /** Changes it only while it has one of the statuses; tells whether it did. */
  updateIf(
    id: string,
    statuses: readonly ServerMigrationStatus[],
    fields: Partial<Omit<ServerMigration, 'id' | 'number'>>,
  ): Promise<boolean>
  /** What is held back on each host for servers that are on their way, or may come back. */
  reservedByHost(): Promise<Map<string, { vcpus: number; memoryMib: number }>>
}

/** A server and its attachments, which change their host in one transaction. */
export interface ServerMoves {
  /** Heads that were made for a move that did not come to pass, and could not be removed: they are known as the server's. */
  bury(serverId: string, heads: readonly { headId: string; volumeId: string }[]): Promise<void>
  /**
   * The server and each of its attachments are at `host` now, with the heads of `heads` (by the attachment's id); repeated
   * it changes nothing. The old heads' ids go to the tombstones, so that what is left of them is known as theirs. With
   * `migration` its record changes in the same transaction. Throws `conflict` where the server is at neither `from` nor
   * `host`, or has an attachment that `heads` does not name; `staleFence` where `fence` is given and older than another
   * control plane's, so that one which was replaced and wakes up moves nothing.
   */
  arrive(
    serverId: string,
    move: { from: string; host: string; heads: Readonly<Record<string, string>>; fence?: number },
    fields?: Partial<Omit<Server, 'id' | 'number' | 'host'>>,
    migration?: { id: string } & Partial<Omit<ServerMigration, 'number'>>,
  ): Promise<void>
}

export interface DrainedServer {
  serverId: string
  /** The compute host that it left. */
  home: string
  how: 'live' | 'cold' | 'stop'
  wasRunning: boolean
  /** Where the drain brings it; the home of one that it stops. Whoever is elsewhere was moved by somebody else since. */
  broughtTo: string
  /** The drain. */
  operationId: string
  createdAt: string
}

export interface DrainedServerRecords {
  /** Replaces what there is of the server. */
  put(drained: DrainedServer): Promise<void>
  ofHome(home: string): Promise<DrainedServer[]>
  find(serverId: string): Promise<DrainedServer | undefined>
  remove(serverId: string): Promise<void>
}
