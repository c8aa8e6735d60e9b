import type { FlavorSnapshot } from './flavor.ts'

export type ServerMigrationKind = 'live-migration' | 'migration' | 'resize' | 'evacuation'

/**
 * As Nova shows it. Live: queued, preparing, running, completed, error, cancelled. Cold and resize: pre-migrating,
 * migrating, post-migrating, finished (to be confirmed), confirmed, reverted, error. Evacuation: accepted, pre-migrating,
 * done, failed.
 */
export type ServerMigrationStatus =
  | 'queued'
  | 'preparing'
  | 'running'
  | 'completed'
  | 'cancelled'
  | 'accepted'
  | 'pre-migrating'
  | 'migrating'
  | 'post-migrating'
  | 'finished'
  | 'confirming'
  | 'confirmed'
  | 'reverting'
  | 'reverted'
  | 'done'
  | 'failed'
  | 'error'

/** Those that are under way, or wait to be confirmed. */
export const unfinishedMigrations = [
  'queued',
  'preparing',
  'running',
  'accepted',
  'pre-migrating',
  'migrating',
  'post-migrating',
  'finished',
  'confirming',
  'reverting',
] as const satisfies readonly ServerMigrationStatus[]

/** A server's way to another host. Field meanings: `db/tables/compute.ts`. */
export interface ServerMigration {
  id: string
  number: number
  serverId: string
  kind: ServerMigrationKind
  status: ServerMigrationStatus
  sourceHost: string
  destHost: string | null
  oldFlavor: FlavorSnapshot & { id: string }
  newFlavor: FlavorSnapshot & { id: string }
  /** The head at the destination, by the attachment's id. */
  heads: Record<string, string>
  /** When it began; so it is again when it is taken back. */
  wasRunning: boolean
  vcpus: number
  memoryMib: number
  /** The host on which it holds that back. */
  reserves: string | null
  operationId: string | null
  userId: string
  projectId: string
  /** Bytes. */
  memoryTotal: number | null
  memoryProcessed: number | null
  memoryRemaining: number | null
  downtimeMs: number | null
  /** Of a live migration: somebody asked that it be completed, however long the guest stands still. */
  forced?: boolean
  message: string | null
  createdAt: string
  updatedAt: string
}
