import type { Caller, ImageAccess, ImageInfo } from '@volant/contract'
import type { Copy, FlexVol } from '../domain/volume.ts'

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
  ensureNoImage(caller: Caller, copy: Copy): Promise<void>
  imageInfo(copy: Copy): Promise<ImageInfo | undefined>
  ensureReadOnly(caller: Caller, copy: Copy, readOnly: boolean): Promise<void>
  /** How the holder on `machine` opens the copy; serves it there first where the machine is another. */
  openFor(caller: Caller, copy: Copy, machine: string, holderId: string): Promise<ImageAccess>
  /**
   * Takes the holder's access away at the storage; returns when that is proved. Where holder and image are on
   * one machine there is no export to revoke: true only where something was revoked.
   */
  revoke(caller: Caller, copy: Copy, machine: string, holderId: string): Promise<boolean>
  space(flexvol: FlexVol): Promise<PoolSpace>
}
