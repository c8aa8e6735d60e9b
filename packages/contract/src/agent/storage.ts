import type { Caller } from './caller.ts'
import type { FileAccess, ImageInfo, ImageRef, NbdAccess } from './image.ts'
import type { Inventoried } from './inventory.ts'

/** What an aggregate is made of. */
export interface AggregateDefinition {
  /** Unique in its cluster. */
  name: string
  /** Absolute; where its FlexVols' folders are. */
  path: string
  /**
   * `folder`, also where absent: of a file system that is there. `xfs`: a file `PATH.xfs`, formatted with reflink and
   * mounted at `path`.
   */
  filesystem?: 'folder' | 'xfs'
  /** Bytes. Of a folder the limit; absent: as large as its file system. Of `xfs` the size, at least 512 MiB. */
  sizeBytes?: number
}

/** An aggregate as the node finds it. */
export interface AggregateInfo extends AggregateDefinition {
  filesystem: 'folder' | 'xfs'
  /** Images can share blocks: a clone is instant. */
  reflink: boolean
  /** Why it can't be used now; absent: it can. */
  down?: string
}

/**
 * The copying of an image that nobody writes to, on the image's node. Only what differs from `base` is read and written,
 * where the file system says which blocks `from` shares with `base.from`.
 */
export interface ImageCopyRequest {
  from: ImageRef
  /**
   * On another aggregate of the node, or on the same. It is made where it is not there, thin and of equal size; without
   * `ontoOpen` and `toExport` one that is there is complete, so nobody else makes it.
   */
  to: ImageRef
  /**
   * Two images of equal content, which nobody writes to: `from` beside the source, `to` beside the target. Where the
   * target's aggregate has reflink, the target begins as a clone of `base.to`.
   */
  base?: { from: ImageRef; to: ImageRef }
  /**
   * The target is there and somebody has it open, but writes nothing until the copy has ended: it began as a clone of
   * `base.to`, and is only brought up to date. Its content is durable when the copy is `done`.
   */
  ontoOpen?: boolean
  /** The target is on another node, where it was made and is served: the copy goes there, whole. Excludes `base`. */
  toExport?: NbdAccess
  /** Bytes per second; 0 is unlimited. */
  rate: number
}

export interface ImageCopyStatus {
  /** `absent`: no such copy, or its agent was restarted in between; what was copied so far may be lost. */
  phase: 'absent' | 'copying' | 'paused' | 'done' | 'failed'
  /** Bytes read from the source so far, holes and shared blocks not counted. */
  doneBytes: number
  totalBytes: number
  rate: number
  error?: string
}

export interface FlexVolUsage {
  images: number
  /** Bytes: the sum of what each image occupies, shared blocks counted each time. */
  allocatedBytes: number
  /** Bytes on the disks: shared blocks counted once. */
  uniqueBytes: number
}

export interface AggregateSpace {
  /** Bytes: the file system's size, or the configured limit where that is smaller. */
  totalBytes: number
  /** Bytes that Volant's images in this aggregate occupy. */
  usedBytes: number
  /** Bytes that can still be written: the least of the limit's rest and the file system's free space. */
  freeBytes: number
}

/**
 * The agent of one storage node. Every `ensure…` is idempotent: it may be repeated after a crash and then
 * changes nothing. All arguments and results are plain JSON, so that an agent may sit on another machine.
 */
export interface StorageAgent extends Inventoried {
  readonly node: string
  aggregateSpace(aggregate: string): Promise<AggregateSpace>
  listAggregates(): Promise<AggregateInfo[]>
  /** Makes (`xfs`: formats and mounts) an aggregate beside the configured ones; a restart of the agent finds it again. */
  ensureAggregate(caller: Caller, aggregate: AggregateDefinition): Promise<AggregateInfo>
  /** Removes an aggregate that `ensureAggregate` made. Refused (`conflict`) while a FlexVol's folder is there. */
  ensureNoAggregate(caller: Caller, aggregate: string): Promise<void>
  /**
   * Unmounts all aggregates that are files, for the end of everything; the next call about one mounts it again. Refused
   * (`conflict`) while something in one is open.
   */
  ensureUnmounted(caller: Caller): Promise<void>
  /** Creates the FlexVol's folder on the aggregate. */
  ensureFlexVol(caller: Caller, flexvol: { aggregate: string; name: string }): Promise<void>
  /** Removes the FlexVol's folder from the aggregate. Refused (`conflict`) while an image is in it. */
  ensureNoFlexVol(caller: Caller, flexvol: { aggregate: string; name: string }): Promise<void>
  flexVolUsage(flexvol: { aggregate: string; name: string }): Promise<FlexVolUsage>

  /**
   * A thin raw image of exactly `sizeBytes`, zeroes throughout. An image that is there with another size is
   * refused (`conflict`): the caller means another image.
   */
  ensureImage(caller: Caller, image: ImageRef, sizeBytes: number): Promise<ImageInfo>
  /** Fills a new image from a file of the image service (raw or qcow2), converting; thin stays thin. */
  ensureImageFrom(
    caller: Caller,
    image: ImageRef,
    sizeBytes: number,
    from: { path: string; format: 'raw' | 'qcow2' },
  ): Promise<ImageInfo>
  /**
   * A clone of `from` as it is at one instant, also while a holder writes to it (then as after a power loss), sharing its
   * blocks: in milliseconds. Both on one aggregate with reflink; else `notImplemented`, and `ensureImageCopy` is the way.
   */
  ensureClone(caller: Caller, image: ImageRef, from: ImageRef): Promise<ImageInfo>
  /**
   * Starts the copying, or finds it. What an agent that died left half-done is begun anew, and so is one that failed.
   * `conflict`: `from` or `base.from` is open for writing, or the target is there with another size.
   */
  ensureImageCopy(caller: Caller, request: ImageCopyRequest): Promise<void>
  /** `imageId` is the target's. */
  imageCopyStatus(imageId: string): Promise<ImageCopyStatus>
  setImageCopyRate(caller: Caller, imageId: string, rate: number): Promise<void>
  ensureImageCopyPaused(caller: Caller, imageId: string, paused: boolean): Promise<void>
  /** Ends the copying where it is under way, and returns when nothing of it can write any more; leaves the target. */
  ensureNoImageCopy(caller: Caller, imageId: string): Promise<void>
  /** Grows an image that no holder has open. Shrinking is refused. */
  ensureImageSize(caller: Caller, image: ImageRef, sizeBytes: number): Promise<ImageInfo>
  /** Removes an image; refused (`conflict`) while a process of this node has it open. */
  ensureNoImage(caller: Caller, image: ImageRef): Promise<void>
  imageInfo(image: ImageRef): Promise<ImageInfo | undefined>
  /** Whether a storage daemon of the node's machine has the image open: a holder there, or an export. */
  isImageOpen(image: ImageRef): Promise<boolean>
  /** The path for a holder on this node's own machine. */
  fileAccess(image: ImageRef): Promise<FileAccess>
  /** Takes the file's write permission away, or gives it back: a retained source can be opened by nobody. */
  ensureImageReadOnly(caller: Caller, image: ImageRef, readOnly: boolean): Promise<void>

  /**
   * Serves an image to a holder on another machine: one export daemon for each `exportId` (an attachment's or
   * operation's id), NBD over TLS with client certificates on the node's data address, from a listening socket
   * with TCP_NODELAY. The export's name is unguessable and stays the same when the daemon is restarted. The
   * description of the export is the image's UUID, which the holder checks before the first byte.
   * `clientHost`: the only host whose certificate may connect; absent, any host of this installation may.
   */
  ensureExport(caller: Caller, exportId: string, image: ImageRef, clientHost?: string): Promise<NbdAccess>
  /**
   * An export in standby: its daemon runs and takes its client, and has nothing open nor locked, so the image may be in
   * use by another. Every request of the client fails until `ensureExport` with the same id, image and client opens
   * the image under it, within milliseconds. Returns what the client opens, from now on and after that. Refused
   * (`conflict`) where the export serves its image.
   */
  ensureExportStandby(
    caller: Caller,
    exportId: string,
    image: ImageRef,
    clientHost?: string,
  ): Promise<NbdAccess>
  /**
   * Grows the image behind an export while its holder is connected: the holder reconnects to the same address
   * and name. Afterwards the holder's own `ensureSize` takes the new size over. Shrinking is refused.
   */
  ensureExportSize(caller: Caller, exportId: string, sizeBytes: number): Promise<NbdAccess>
  /**
   * The fence: returns only after the daemon has reported that the export is gone (the event
   * BLOCK_EXPORT_DELETED) or the daemon is proved dead. Afterwards no write of the holder reaches the image.
   */
  ensureNoExport(caller: Caller, exportId: string): Promise<void>
  /**
   * `from` is ended as by `ensureNoExport`; when that is proved, and not before, `to` gets the image as by `ensureExport`. What
   * gives nobody access, such as opening the image with nothing on it, is made ready beside the fence. Where the fence fails or
   * can't be proved, or the image can't be given, the error is thrown when both have come to rest, and `to` is in standby.
   */
  handOverExport(caller: Caller, request: HandOverRequest): Promise<NbdAccess>
  listExports(): Promise<ExportStatus[]>
}

/** An image goes from one export to another of the same node. */
export interface HandOverRequest {
  /** The export that ends; one that is not there has ended. */
  from: string
  /** The export that stands by. */
  to: string
  image: ImageRef
  /** The only host that may connect to `to`. */
  clientHost?: string
}

export interface ExportStatus {
  exportId: string
  imageId: string
  pid: number
  /** The only host that may connect. */
  clientHost?: string
  /** Nothing is open: it waits for `ensureExport`. */
  isStandby: boolean
}
