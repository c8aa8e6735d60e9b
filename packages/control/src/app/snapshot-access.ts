import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import type { SnapshotRecords } from '../ports/records.ts'

/** The snapshot, if the principal may know of it: another project's is `notFound`, and so is a share's. */
export async function visibleSnapshot(
  snapshots: Pick<SnapshotRecords, 'find'>,
  principal: Principal,
  snapshotId: string,
): Promise<Snapshot> {
  const snapshot = await snapshots.find(snapshotId)
  const mayKnow = isAdmin(principal) || snapshot?.projectId === principal.projectId
  if (snapshot === undefined || snapshot.shareId !== null || !mayKnow) {
    throw new DomainError('notFound', `Snapshot ${snapshotId} could not be found.`)
  }
  return snapshot
}

/** The snapshot, if the principal may also change it. */
export async function changeableSnapshot(
  snapshots: Pick<SnapshotRecords, 'find'>,
  principal: Principal,
  snapshotId: string,
  policy: string,
): Promise<Snapshot> {
  const snapshot = await visibleSnapshot(snapshots, principal, snapshotId)
  enforce(principal, policy, 'member', snapshot.projectId)
  return snapshot
}

/** The snapshot, for what only an administrator may do. */
export async function administeredSnapshot(
  snapshots: Pick<SnapshotRecords, 'find'>,
  principal: Principal,
  snapshotId: string,
  policy: string,
): Promise<Snapshot> {
  const snapshot = await visibleSnapshot(snapshots, principal, snapshotId)
  enforce(principal, policy, 'admin')
  return snapshot
}

/** Cinder's wording of a snapshot in no state for what is asked. */
export const invalidSnapshot = (reason: string): DomainError =>
  new DomainError('invalid', `Invalid snapshot: ${reason}`)
