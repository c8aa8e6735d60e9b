import type { DeviceLatency, FileSystemSpec, FileSystemStatus, InventoryItem } from '@volant/contract'

/** The file systems of a node's shares, as the shares' agent needs them: it admits callers and puts calls in turn. */
export interface FileSystems {
  ensure(spec: FileSystemSpec): Promise<FileSystemStatus>
  /** Nothing serves it any more. Returns when nothing of it can write to the head. */
  ensureNo(shareId: string): Promise<void>
  ensureSize(shareId: string, sizeBytes: number): Promise<FileSystemStatus>
  flush(shareId: string): Promise<void>
  trim(shareId: string): Promise<void>
  /** Undefined where there is no record of it. */
  status(shareId: string): Promise<FileSystemStatus | undefined>
  /** How long the requests of its block device took. Throws `unavailable` where that does not run. */
  latency(shareId: string): DeviceLatency
  /** Those on record, mounted or not. */
  ids(): string[]
  /** Where it is, or would be, mounted. Absolute, and the same for good. */
  mountPath(shareId: string): string
  /** Now, by the kernel's word; synchronous: for a look that nothing of this process may come after. */
  isMounted(shareId: string): boolean
  /**
   * Its block device is gone for good (the FUSE connection was aborted): every request gets EIO from now on, and only
   * `rebuild` helps. False while its parts are away and will be back: then requests wait. Cheap; asked often.
   */
  isLost(shareId: string): boolean
  /** Takes down what is left of a lost one and mounts it again. No process has a file of it open by then. */
  rebuild(shareId: string): Promise<void>
  /** Every request to it fails from now on, also those that wait; what is not synced is lost: its content is to go. */
  giveUp(shareId: string): Promise<void>
  /** Finds what an earlier process left and supervises it; mounts what a reboot unmounted, when its head answers. */
  adopt(): Promise<void>
  detach(): void
  /** Kind `file-system` and what belongs to it. Changes nothing. */
  inventory(): Promise<InventoryItem[]>
  /** One of `inventory`'s that is not exported. */
  removeStray(item: InventoryItem): Promise<void>
}
