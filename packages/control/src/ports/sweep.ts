import type { SweepReport } from '@volant/contract/ndo/sweep.ts'
import type { OwnerRecords, Tombstone, UnfinishedOperation } from '../domain/sweep.ts'
import type { Attachment, Copy } from '../domain/volume.ts'

type ValueOf<M> = M extends ReadonlyMap<string, infer V> ? V : never

/** The records as the sweep asks them: by what was found, in a few statements however much that is. */
export interface SweepRecords {
  copies(imageIds: readonly string[]): Promise<Map<string, Copy>>
  /** All copies that are targets: they hold space back. */
  targets(): Promise<Copy[]>
  attachments(ids: readonly string[]): Promise<Map<string, Attachment>>
  /** Deleted ones, too. */
  servers(ids: readonly string[]): Promise<Map<string, ValueOf<OwnerRecords['servers']>>>
  shares(ids: readonly string[]): Promise<Map<string, ValueOf<OwnerRecords['shares']>>>
  volumes(ids: readonly string[]): Promise<Map<string, ValueOf<OwnerRecords['volumes']>>>
  snapshots(ids: readonly string[]): Promise<Map<string, ValueOf<OwnerRecords['snapshots']>>>
  operations(ids: readonly string[]): Promise<Map<string, ValueOf<OwnerRecords['operations']>>>
  /** Where those are that were made at run time, by `NODE/NAME`. */
  aggregates(): Promise<ReadonlyMap<string, string>>
  unfinished(): Promise<UnfinishedOperation[]>
  /** By `copy/ID`, `attachment/ID` and `share/ID`. */
  tombstones(ids: readonly string[]): Promise<Map<string, Tombstone>>
  /** Forgets tombstones of rows that were removed before then. */
  forgetTombstones(removedBefore: string): Promise<void>
}

export type SweepWish = { dryRun?: false } | { dryRun: true; graceSeconds?: number }

/** The sweep, as the application uses it. */
export interface Sweep {
  /**
   * One pass, after any that is under way. A dry run removes nothing; only it may have another grace time, in seconds.
   */
  run(options?: SweepWish): Promise<SweepReport>
  /** The last pass; undefined before the first. */
  last(): SweepReport | undefined
}
