import type { AggregateDefinition } from '@volant/contract'
import type { FlexVolMove } from '../domain/flexvol-move.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import type { AggregatePlace, Attachment, Copy, FlexVol, Volume } from '../domain/volume.ts'

/** What operations may do with the records of volumes. Every method is one transaction. */
export interface VolumeRecords {
  find(volumeId: string): Promise<Volume | undefined>
  /** Throws `notFound` with Cinder's text. */
  get(volumeId: string): Promise<Volume>
  create(volume: Volume): Promise<void>
  /** Changes only the given fields, and `updatedAt`. */
  update(volumeId: string, fields: Partial<Omit<Volume, 'id'>>): Promise<void>
  /**
   * Changes the volume only if it still has one of the given statuses (and, where given, migration statuses);
   * tells whether it did. The guard of every state change that a request asks for.
   */
  updateIf(
    volumeId: string,
    expected: {
      status?: readonly Volume['status'][]
      migrationStatus?: readonly Volume['migrationStatus'][]
      /** Exactly this: nobody has changed the volume since. */
      updatedAt?: string
    },
    fields: Partial<Omit<Volume, 'id'>>,
  ): Promise<boolean>
  /** Removes the row. Its copies must be gone. */
  remove(volumeId: string): Promise<void>
}

export interface CopyRecords {
  find(imageId: string): Promise<Copy | undefined>
  get(imageId: string): Promise<Copy>
  /** The volume's own, without those of its snapshots. */
  ofVolume(volumeId: string): Promise<Copy[]>
  ofSnapshot(snapshotId: string): Promise<Copy[]>
  /** Of volumes and snapshots, oldest first. */
  ofFlexVol(flexvolId: string): Promise<Copy[]>
  /** The target that an operation made, in whatever state it is by now. */
  ofOperation(operationId: string): Promise<Copy[]>
  /**
   * Idempotent by image id. `unavailable`, and nothing is changed, where the copy is neither at its FlexVol's place or
   * destination nor beside another image of it: the FlexVol has moved since the place was looked up.
   */
  create(copy: Copy): Promise<void>
  update(imageId: string, fields: Partial<Omit<Copy, 'imageId'>>): Promise<void>
  remove(imageId: string): Promise<void>
  /**
   * THE RECORD. In one durable transaction: the volume's truth becomes `toImageId` (state live) in that copy's
   * FlexVol, and the former truth becomes retained. Refuses (`conflict`) unless the truth is `fromImageId`;
   * repeated after it was done it changes nothing. Refuses (`staleFence`) a control plane that was replaced: it may
   * have slept since the copies were equal.
   */
  changeTruth(change: {
    volumeId: string
    fromImageId: string
    toImageId: string
    operationId: string
    /** The control plane's. */
    fence: number
    retainedUntil: string
  }): Promise<void>
  /** Makes ready what `changeTruth` needs, for a client waits for that. It changes nothing. */
  rehearseTruth(): Promise<void>
  /** As `changeTruth`, for a snapshot: its image becomes `toImageId`, and the former one is retained. */
  changeSnapshotTruth(change: {
    snapshotId: string
    fromImageId: string
    toImageId: string
    operationId: string
    fence: number
    retainedUntil: string
  }): Promise<void>
  /** Retained copies whose time is over. */
  retiredBefore(time: string): Promise<Copy[]>
  /**
   * Gives a retained copy up whose time is over: from here on no undo takes it back, whatever the clock says.
   * False where it is not retained (any more), or its time is not over. May be repeated.
   */
  giveUp(imageId: string, time: string): Promise<boolean>
  /**
   * An undo takes a retained copy back, which is then its target: nobody retires it. False where its time is over,
   * it was given up, or it is not retained. May be repeated by the same operation.
   */
  takeBack(imageId: string, operationId: string, time: string): Promise<boolean>
  /** Takes `takeBack` back: the copy is retained until the time it had. Changes nothing else. */
  keepAgain(imageId: string, operationId: string): Promise<void>
  /** Sum of `reservedBytes` in the FlexVol. */
  reservedBytes(flexvolId: string): Promise<number>
  /** As `AggregateContents.reservedAt`: all that is held back on the aggregate. */
  reservedAt(place: AggregatePlace): Promise<number>
}

export interface AttachmentRecords {
  find(attachmentId: string): Promise<Attachment | undefined>
  get(attachmentId: string): Promise<Attachment>
  ofVolume(volumeId: string): Promise<Attachment[]>
  ofServer(serverId: string): Promise<Attachment[]>
  /** All attachments whose volume should have a head now: attaching, attached, detaching, with a host. */
  withHead(): Promise<Attachment[]>
  create(attachment: Attachment): Promise<void>
  update(attachmentId: string, fields: Partial<Omit<Attachment, 'id'>>): Promise<void>
  remove(attachmentId: string): Promise<void>
}

export interface FlexVolRecords {
  list(): Promise<FlexVol[]>
  find(flexvolId: string): Promise<FlexVol | undefined>
  get(flexvolId: string): Promise<FlexVol>
  /** By backend and pool name (`LIF:/junction`). */
  byPool(cluster: string, pool: string): Promise<FlexVol | undefined>
  create(flexvol: FlexVol): Promise<void>
  update(
    flexvolId: string,
    fields: Partial<Pick<FlexVol, 'sizeBytes' | 'destination' | 'moveReservedBytes'>>,
  ): Promise<void>
  /** Removes the row; false, and nothing is changed, while a volume, a snapshot or a copy is in it. */
  removeEmpty(flexvolId: string): Promise<boolean>
  /** Gives it another name or pool; false, and nothing is changed, while a volume, a snapshot or a copy is in it. */
  renameEmpty(flexvolId: string, to: Pick<FlexVol, 'name' | 'junctionPath'>): Promise<boolean>
  /** How many volumes live in it. */
  countVolumes(flexvolId: string): Promise<number>
  /**
   * THE END OF A MOVE, in one transaction: the FlexVol is at its destination, and has none any more. False, and nothing
   * is changed, while a copy that is live or a target is elsewhere. Repeated after it was done it is true.
   */
  arrive(flexvolId: string, at: AggregatePlace): Promise<boolean>
}

/** Moves of FlexVols, under way and ended. */
export interface FlexVolMoveRecords {
  find(moveId: string): Promise<FlexVolMove | undefined>
  /** The one under way, or the latest. */
  latestOf(flexvolId: string): Promise<FlexVolMove | undefined>
  /** The latest of each FlexVol, by its id. */
  latest(): Promise<Map<string, FlexVolMove>>
  /** Of one FlexVol, or of all, newest first. */
  list(query: { flexvolId?: string; limit: number }): Promise<FlexVolMove[]>
  /** Idempotent by id. */
  create(move: FlexVolMove): Promise<void>
  update(
    moveId: string,
    fields: Partial<
      Pick<FlexVolMove, 'cutoverWindowSeconds' | 'cutoverAction' | 'cutover' | 'state' | 'endedAt'>
    >,
  ): Promise<void>
}

/** Aggregates that were made at run time, beside those of the configuration. */
export interface AggregateRecords {
  list(): Promise<(AggregateDefinition & { cluster: string; node: string; createdAt: string })[]>
  /** Idempotent by cluster and name. */
  create(aggregate: AggregateDefinition & { cluster: string; node: string; createdAt: string }): Promise<void>
  remove(cluster: string, name: string): Promise<void>
}

export interface SnapshotRecords {
  find(snapshotId: string): Promise<Snapshot | undefined>
  /** Throws `notFound` with Cinder's text. */
  get(snapshotId: string): Promise<Snapshot>
  /** Oldest first. */
  ofVolume(volumeId: string): Promise<Snapshot[]>
  /** Oldest first. */
  ofFlexVol(flexvolId: string): Promise<Snapshot[]>
  countInFlexVol(flexvolId: string): Promise<number>
  update(snapshotId: string, fields: Partial<Omit<Snapshot, 'id'>>): Promise<void>
  /** Changes the snapshot only if it still has one of the statuses; tells whether it did. */
  updateIf(
    snapshotId: string,
    expected: { status: readonly Snapshot['status'][] },
    fields: Partial<Omit<Snapshot, 'id'>>,
  ): Promise<boolean>
  remove(snapshotId: string): Promise<void>
}
