import type {
  Caller,
  FlexVolUsage,
  ImageAccess,
  ImageCopyStatus,
  ImageInfo,
  NbdAccess,
} from '@volant/contract'
import type { AggregatePlace, Copy, FlexVol } from '../domain/volume.ts'

export interface CopyRequest {
  to: Copy
  from: Copy
  /** Images of equal content, one beside each, which nobody writes to. Left out of account between two nodes. */
  base?: { from: Copy; to: Copy }
  ontoOpen?: boolean
  /** Bytes per second; 0: unlimited. */
  rate: number
}

export interface HolderPlace {
  machine: string
  holderId: string
}

export interface PoolSpace {
  totalBytes: number
  /** What images occupy. */
  usedBytes: number
  /** What can still be written, reservations not yet taken off. */
  freeBytes: number
}

/**
 * A storage driver: where copies live and how a holder opens them. `aggregates` is the only one for now; NFS,
 * iSCSI and RBD come behind the same interface. Every `ensure…` may be repeated.
 */
export interface Backend {
  ensureFlexVol(caller: Caller, flexvol: FlexVol): Promise<void>
  ensureImage(caller: Caller, copy: Copy): Promise<ImageInfo>
  ensureImageFrom(
    caller: Caller,
    copy: Copy,
    from: { path: string; format: 'raw' | 'qcow2' },
  ): Promise<ImageInfo>
  ensureImageSize(caller: Caller, copy: Copy, sizeBytes: number): Promise<ImageInfo>
  /**
   * Grows the copy that is served to a holder on another machine, before the holder's own `ensureSize`. Does
   * nothing where holder and copy are on one machine: there the holder grows it.
   */
  ensureServedSize(
    caller: Caller,
    copy: Copy,
    machine: string,
    holderId: string,
    sizeBytes: number,
  ): Promise<void>
  /** As `StorageAgent.ensureClone`: `notImplemented` where the two can't share blocks. */
  ensureClone(caller: Caller, copy: Copy, from: Copy): Promise<ImageInfo>
  /** Copies an image that nobody writes to, on its own node or to another. See `ImageCopyRequest`. */
  ensureCopy(caller: Caller, request: CopyRequest): Promise<void>
  copyStatus(request: { to: Copy; from: Copy }): Promise<ImageCopyStatus>
  setCopyRate(caller: Caller, request: { to: Copy; from: Copy }, rate: number): Promise<void>
  ensureCopyPaused(caller: Caller, request: { to: Copy; from: Copy }, paused: boolean): Promise<void>
  /** Ends it where it is under way, and closes what was opened for it; the target stays. */
  ensureNoCopy(caller: Caller, request: { to: Copy; from: Copy }): Promise<void>
  ensureNoImage(caller: Caller, copy: Copy): Promise<void>
  imageInfo(copy: Copy): Promise<ImageInfo | undefined>
  /** Whether a storage daemon of the copy's own machine has it open: a holder there, or an export. */
  isOpen(copy: Copy): Promise<boolean>
  ensureReadOnly(caller: Caller, copy: Copy, readOnly: boolean): Promise<void>
  /**
   * How the holder on `machine` opens the copy; serves it there first where the machine is another. Refused (`conflict`)
   * to a head that is fenced.
   */
  openFor(caller: Caller, copy: Copy, machine: string, holderId: string): Promise<ImageAccess>
  /**
   * Makes ready what `openFor` needs for the holder there, while another still has the copy open. Returns what the holder
   * can open at once: every request of it fails until `openFor`, which returns the same, has opened the copy below, in
   * milliseconds. Null where there is nothing to do, for the copy is on the holder's own machine. `revoke` takes it away
   * again.
   */
  standBy(caller: Caller, copy: Copy, machine: string, holderId: string): Promise<NbdAccess | null>
  /** The head's host was given up (`ports/fenced-heads.ts`): nothing is opened for it any more. */
  isFenced(holderId: string): Promise<boolean>
  /**
   * Takes the holder's access away at the storage; returns when that is proved. Where holder and image are on
   * one machine there is no export to revoke: true only where something was revoked.
   */
  revoke(caller: Caller, copy: Copy, machine: string, holderId: string): Promise<boolean>
  /**
   * The holder's access goes to another holder's, which stands by, in one go: `revoke` of the one, and when that is proved, and not
   * before, `openFor` of the other. False where one of them is on the copy's own machine: then nothing was done. Where it
   * fails the one may have lost its access, and the other may have got it.
   */
  handOver(caller: Caller, copy: Copy, from: HolderPlace, to: HolderPlace): Promise<boolean>
  /** Ids of all exports by which the machine can reach the copy, whatever holder they were made for, in standby or not. */
  exportsTo(copy: Copy, machine: string): Promise<string[]>
  /** Takes all of them away; returns when that is proved. */
  revokeAllTo(caller: Caller, copy: Copy, machine: string): Promise<void>
  /** Where the FlexVol's new images are made. */
  space(flexvol: FlexVol): Promise<PoolSpace>
  spaceAt(place: AggregatePlace): Promise<PoolSpace>
  /** What the FlexVol's images occupy on one of its aggregates. */
  usageAt(flexvol: FlexVol, place: AggregatePlace): Promise<FlexVolUsage>
  /** Makes the FlexVol's folder there. */
  ensureFlexVolAt(caller: Caller, flexvol: FlexVol, place: AggregatePlace): Promise<void>
  /** Removes the FlexVol's folder from there; `conflict` while an image is in it. */
  ensureNoFlexVolAt(caller: Caller, flexvol: FlexVol, place: AggregatePlace): Promise<void>
  /** Whether images there can share blocks. */
  canShare(place: AggregatePlace): Promise<boolean>
}
