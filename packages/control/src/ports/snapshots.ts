import type { SnapshotFilter, SnapshotPageRequest } from '../domain/snapshot-query.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import type { Copy } from '../domain/volume.ts'

/** Lists of snapshots. A page costs the same however many there are: it starts at its marker's key. */
export interface SnapshotLists {
  /** At most `limit`. Throws `notFound` for an unknown marker. */
  page(request: SnapshotPageRequest): Promise<Snapshot[]>
  count(filter: SnapshotFilter): Promise<number>
  /** Volumes that are being made of the snapshot. */
  usersOf(snapshotId: string): Promise<string[]>
}

/** The beginning of a snapshot's life; each method is one transaction. The row is there before. */
export interface SnapshotCreation {
  /** The copy that will be the snapshot's image; idempotent. */
  begin(copy: Copy): Promise<void>
  /** The image is whole: the snapshot is `available`. Clears the message of `messageId`. */
  complete(birth: {
    snapshotId: string
    imageId: string
    method: 'clone' | 'copy'
    messageId: string
    at: string
  }): Promise<void>
  /** The copy is gone: the snapshot is in `error`. */
  abandon(snapshotId: string, imageId: string, at: string): Promise<void>
}
