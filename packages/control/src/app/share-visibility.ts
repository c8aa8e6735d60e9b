import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import { migratingTaskStates, type Share } from '../domain/share.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import type { SnapshotRecords } from '../ports/records.ts'
import type { ShareRecords } from '../ports/shares.ts'

const noShare = (shareId: string): DomainError =>
  new DomainError('notFound', `Share ${shareId} could not be found.`)

const owns = (principal: Principal, { projectId }: { projectId: string }): boolean =>
  isAdmin(principal) || projectId === principal.projectId

/** The share, if the principal may know of it: another project's is `notFound`, unless it is public. */
export async function visibleShare(
  shares: Pick<ShareRecords, 'find'>,
  principal: Principal,
  shareId: string,
): Promise<Share> {
  const share = await shares.find(shareId)
  if (share === undefined || !(owns(principal, share) || share.isPublic)) throw noShare(shareId)
  return share
}

/** The share, if it is the principal's own: what is inside a public one is not for others. */
export async function ownShare(
  shares: Pick<ShareRecords, 'find'>,
  principal: Principal,
  shareId: string,
  policy: string,
): Promise<Share> {
  const share = await visibleShare(shares, principal, shareId)
  enforce(principal, policy, 'reader', share.projectId)
  return share
}

/** The share, if the principal may also change it. */
export async function changeableShare(
  shares: Pick<ShareRecords, 'find'>,
  principal: Principal,
  shareId: string,
  policy: string,
): Promise<Share> {
  const share = await visibleShare(shares, principal, shareId)
  enforce(principal, policy, 'member', share.projectId)
  return share
}

/** The share, for what only an administrator may do. */
export async function administeredShare(
  shares: Pick<ShareRecords, 'find'>,
  principal: Principal,
  shareId: string,
  policy: string,
): Promise<Share> {
  const share = await visibleShare(shares, principal, shareId)
  enforce(principal, policy, 'admin')
  return share
}

/** A share's snapshot with the share's id in it. */
export type ShareSnapshot = Snapshot & { shareId: string }

/** The snapshot of a share; a volume's is none. */
export async function visibleShareSnapshot(
  snapshots: Pick<SnapshotRecords, 'find'>,
  principal: Principal,
  snapshotId: string,
): Promise<ShareSnapshot> {
  const snapshot = await snapshots.find(snapshotId)
  if (snapshot === undefined || snapshot.shareId === null || !owns(principal, snapshot)) {
    throw new DomainError('notFound', `Snapshot ${snapshotId} could not be found.`)
  }
  return { ...snapshot, shareId: snapshot.shareId }
}

export async function changeableShareSnapshot(
  snapshots: Pick<SnapshotRecords, 'find'>,
  principal: Principal,
  snapshotId: string,
  policy: string,
): Promise<ShareSnapshot> {
  const snapshot = await visibleShareSnapshot(snapshots, principal, snapshotId)
  enforce(principal, policy, 'member', snapshot.projectId)
  return snapshot
}

export async function administeredShareSnapshot(
  snapshots: Pick<SnapshotRecords, 'find'>,
  principal: Principal,
  snapshotId: string,
  policy: string,
): Promise<ShareSnapshot> {
  const snapshot = await visibleShareSnapshot(snapshots, principal, snapshotId)
  enforce(principal, policy, 'admin')
  return snapshot
}

/** Manila's wordings of what is in no state for what is asked. */
export const invalidShare = (reason: string): DomainError =>
  new DomainError('invalid', `Invalid share: ${reason}`)
export const invalidShareSnapshot = (reason: string): DomainError =>
  new DomainError('invalid', `Invalid share snapshot: ${reason}`)
export const invalidShareInput = (reason: string): DomainError =>
  new DomainError('invalid', `Invalid input received: ${reason}`)

/** A migration is under way. */
export const isBusy = ({ taskState }: Share): boolean =>
  taskState !== null && migratingTaskStates.includes(taskState)

export function requireIdle(share: Share): void {
  if (!isBusy(share)) return
  throw new DomainError(
    'invalid',
    `Share is busy with an active task: Share ${share.id} is busy as part of an active task: ${share.taskState}. ` +
      'Wait for the end of its migration, or cancel it.',
  )
}
