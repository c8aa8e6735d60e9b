import { DomainError } from '@volant/contract'
import { isInTheWay } from '../domain/giving-way.ts'
import type { Principal } from '../domain/principal.ts'
import type { Share } from '../domain/share.ts'
import { deleteShare } from '../operations/delete-share.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { ShareLists } from '../ports/share-records.ts'
import type { ShareRecords } from '../ports/shares.ts'
import { administeredShare, changeableShare, requireIdle } from './share-visibility.ts'

export interface ShareDeletions {
  /** `force` is the administrator's, and takes a share of any status. Not one with snapshots. */
  remove(principal: Principal, shareId: string, options: { force: boolean; requestId: string }): Promise<void>
}

const deletable: readonly Share['status'][] = [
  'available',
  'error',
  'error_deleting',
  'extending_error',
  'shrinking_error',
  'reverting_error',
]

export const createShareDeletions = (sources: {
  shares: ShareRecords
  lists: Pick<ShareLists, 'countSnapshots'>
  engine: OperationEngine
}): ShareDeletions => ({
  async remove(principal, shareId, { force, requestId }) {
    const { shares, lists, engine } = sources
    const share = force
      ? await administeredShare(shares, principal, shareId, 'share:force_delete')
      : await changeableShare(shares, principal, shareId, 'share:delete')
    if (!force && !deletable.includes(share.status) && share.status !== 'migrating') throw notDeletable(share)
    requireIdle(share)
    if (share.status === 'migrating') throw notDeletable(share)
    const snapshots = await lists.countSnapshots(shareId)
    if (snapshots > 0) throw hasSnapshots(snapshots)
    const holder = await engine.holderOf(`share/${shareId}`)
    if (isInTheWay(holder)) {
      throw new DomainError(
        'conflict',
        `Share ${shareId} cannot be deleted while operation ${holder.id} (${holder.kind}) is working on it.`,
      )
    }
    if (!(await shares.updateIf(shareId, { status: [share.status] }, { status: 'deleting' }))) {
      throw notDeletable((await shares.find(shareId)) ?? share)
    }
    try {
      // From here on none is made: the share is being deleted.
      const made = await lists.countSnapshots(shareId)
      if (made > 0) throw hasSnapshots(made)
      const { volumeId, flexvolId, projectId } = share
      await engine.start(deleteShare, { shareId, volumeId, flexvolId, projectId, requestId })
    } catch (error) {
      await shares.updateIf(shareId, { status: ['deleting'] }, { status: share.status })
      throw error
    }
  },
})

/** Manila answers 403 where a share is in no state for its deletion. */
const refusal = (reason: string): DomainError =>
  new DomainError('conflict', `Invalid share: ${reason}`, { httpStatus: 403 })

const notDeletable = (share: Share): DomainError =>
  refusal(
    `Share status must be one of (${deletable.map((s) => `'${s}'`).join(', ')}). It is ${share.status}.`,
  )

const hasSnapshots = (count: number): DomainError =>
  refusal(`Share still has ${count} dependent snapshots. Delete them first.`)
