import type { PaceView } from './pace-view.ts'

/** What a migration shows of its copy. */
export interface MigrationProgress {
  /** catching-up: the first pass is over, but the client has written too much since for the cutover. */
  phase: 'copying' | 'catching-up' | 'in-sync' | 'paused'
  /** Bytes that the target occupies. */
  doneBytes: number
  /** Bytes that the source occupies; grows while the client writes where nothing was. */
  totalBytes: number
  /** Bytes that the mirror has still to look at, holes included. */
  leftBytes: number
  /** Bytes per second, over the latest seconds. */
  rateBps: number
  /** Null while it can't be told. */
  etaSeconds: number | null
  /** The limit that shaping put on the client, in bytes per second; null: none. */
  clientLimitBps: number | null
  /** How often the mirror was started anew. */
  mirrorRestarts: number
  /** How fast it may go, and why. */
  pace?: PaceView
}
