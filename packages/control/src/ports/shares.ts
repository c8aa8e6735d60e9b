import type { Share, ShareAccessRule, ShareType, ShownSnapshot, SnapshotAccessRule } from '../domain/share.ts'
import type { ShareMessage } from '../domain/share-message.ts'
import type { Attachment, Copy, FlexVol, Volume } from '../domain/volume.ts'

/** What operations may do with the records of shares. Every method is one transaction. */
export interface ShareRecords {
  find(shareId: string): Promise<Share | undefined>
  /** Throws `notFound` with Manila's text. */
  get(shareId: string): Promise<Share>
  /** All of them, oldest first. */
  list(): Promise<Share[]>
  /** All that were placed and are not being deleted: those whose file system and export should be there. */
  served(): Promise<Share[]>
  create(share: Share): Promise<void>
  /** Changes only the given fields, and `updatedAt`. */
  update(shareId: string, fields: Partial<Omit<Share, 'id'>>): Promise<void>
  /** Changes the share only if it still has one of the statuses; tells whether it did. */
  updateIf(
    shareId: string,
    expected: { status: readonly Share['status'][] },
    fields: Partial<Omit<Share, 'id'>>,
  ): Promise<boolean>
  /** Removes the row and its rules. What it stood on must be gone. */
  remove(shareId: string): Promise<void>
}

/** The beginning and the end of a share's ground; each method is one transaction, and may be repeated. */
export interface ShareGround {
  /**
   * The share is placed: its FlexVol, the volume that is its content (without an image yet), the copy that will be its
   * image, and its attachment; the lowest export id that is free in its cluster is its own from now on.
   */
  lay(
    shareId: string,
    ground: { flexvol: FlexVol; volume: Volume; copy: Copy; attachment: Attachment },
  ): Promise<void>
  /** The copy is the volume's truth, and the volume is in use. */
  complete(shareId: string, imageId: string, at: string): Promise<void>
  /** Removes attachment, volume, copies' rows and FlexVol: their images are gone. */
  clear(shareId: string): Promise<void>
}

/** Requests and the operation that applies the rules change them at the same time. */
export interface ExpectedAccessRule {
  state: readonly ShareAccessRule['state'][]
  /** Absent: any. */
  accessLevel?: ShareAccessRule['accessLevel']
}

export interface ShareAccessRecords {
  ofShare(shareId: string): Promise<ShareAccessRule[]>
  find(ruleId: string): Promise<ShareAccessRule | undefined>
  /** Throws `conflict` where the share has a rule for the same clients. */
  create(rule: ShareAccessRule): Promise<void>
  update(ruleId: string, fields: Partial<Omit<ShareAccessRule, 'id' | 'shareId'>>): Promise<void>
  /** Changes the rule only if it still is what was expected; tells whether it did. */
  updateIf(
    ruleId: string,
    expected: ExpectedAccessRule,
    fields: Partial<Omit<ShareAccessRule, 'id' | 'shareId'>>,
  ): Promise<boolean>
  remove(ruleId: string): Promise<void>
  /** Removes the rule only if it still is what was expected; tells whether it did. */
  removeIf(ruleId: string, expected: ExpectedAccessRule): Promise<boolean>
}

export interface SnapshotAccessRecords {
  ofSnapshot(snapshotId: string): Promise<SnapshotAccessRule[]>
  find(ruleId: string): Promise<SnapshotAccessRule | undefined>
  /** Throws `conflict` where the snapshot has a rule for the same clients. */
  create(rule: SnapshotAccessRule): Promise<void>
  /** Changes the rule only if it has one of the states. */
  updateIf(
    ruleId: string,
    states: readonly SnapshotAccessRule['state'][],
    state: SnapshotAccessRule['state'],
  ): Promise<void>
  remove(ruleId: string): Promise<void>
  /** Snapshots with rules. */
  snapshots(): Promise<string[]>
}

/** What snapshots that can be mounted stand on; each method is one transaction, and may be repeated. */
export interface ShownSnapshotRecords {
  find(snapshotId: string): Promise<ShownSnapshot | undefined>
  /** All of them, oldest first. */
  list(): Promise<ShownSnapshot[]>
  /** The volume, without an image yet, the copy that will be its image, its attachment, and the lowest free export id. */
  lay(
    shown: Omit<ShownSnapshot, 'exportId'>,
    ground: { volume: Volume; copy: Copy; attachment: Attachment },
  ): Promise<void>
  /** The copy is the volume's truth, and the volume is in use. */
  complete(snapshotId: string, imageId: string, at: string): Promise<void>
  /** Removes attachment, volume and copies' rows: their images are gone. */
  clear(snapshotId: string): Promise<void>
}

export interface ShareMessageRecords {
  /** Writes or rewrites the message of that id. */
  put(message: ShareMessage): Promise<void>
  find(id: string): Promise<ShareMessage | undefined>
  /** Newest first. Absent project: all. */
  list(options: { projectId?: string; now: string }): Promise<ShareMessage[]>
  remove(id: string): Promise<void>
  removeExpired(now: string): Promise<void>
}

export interface ShareTypeRecords {
  /** All of them, oldest first. Who may see which is decided by the application. */
  list(): Promise<ShareType[]>
  find(typeId: string): Promise<ShareType | undefined>
  create(type: ShareType): Promise<void>
  update(typeId: string, fields: Partial<Omit<ShareType, 'id'>>): Promise<void>
  /** False, and nothing is changed, while a share is of it. */
  removeUnused(typeId: string): Promise<boolean>
  projectsOf(typeId: string): Promise<string[]>
  allow(typeId: string, projectId: string): Promise<void>
  disallow(typeId: string, projectId: string): Promise<void>
}
