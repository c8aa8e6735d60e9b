import type { Caller } from './caller.ts'
import type { FileAccess, ImageInfo, ImageRef, NbdAccess } from './image.ts'
import type { Inventoried } from './inventory.ts'

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
  /** Creates the FlexVol's folder on the aggregate. */
  ensureFlexVol(caller: Caller, flexvol: { aggregate: string; name: string }): Promise<void>

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
  /** Grows an image that no holder has open. Shrinking is refused. */
  ensureImageSize(caller: Caller, image: ImageRef, sizeBytes: number): Promise<ImageInfo>
  /** Removes an image; refused (`conflict`) while a process of this node has it open. */
  ensureNoImage(caller: Caller, image: ImageRef): Promise<void>
  imageInfo(image: ImageRef): Promise<ImageInfo | undefined>
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
   * Grows the image behind an export while its holder is connected: the holder reconnects to the same address
   * and name. Afterwards the holder's own `ensureSize` takes the new size over. Shrinking is refused.
   */
  ensureExportSize(caller: Caller, exportId: string, sizeBytes: number): Promise<NbdAccess>
  /**
   * The fence: returns only after the daemon has reported that the export is gone (the event
   * BLOCK_EXPORT_DELETED) or the daemon is proved dead. Afterwards no write of the holder reaches the image.
   */
  ensureNoExport(caller: Caller, exportId: string): Promise<void>
  listExports(): Promise<{ exportId: string; imageId: string; pid: number }[]>
}
