import { DomainError } from '@volant/contract'
import { isInTheWay } from '../domain/giving-way.ts'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import { requireTypeSize } from '../domain/share-type.ts'
import { largestShareGib, type Share, type ShareTaskState } from '../domain/share.ts'
import type { Topology } from '../domain/topology.ts'
import { gib } from '../domain/volume.ts'
import { extendShare } from '../operations/extend-share.ts'
import type { Agents } from '../ports/agents.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { CopyRecords, VolumeRecords } from '../ports/records.ts'
import type { ShareQuotaRecords } from '../ports/share-records.ts'
import type { ShareRecords, ShareTypeRecords } from '../ports/shares.ts'
import { cancelOperationOn } from './operation-cancel.ts'
import {
  administeredShare,
  changeableShare,
  invalidShare,
  invalidShareInput,
  requireIdle,
} from './share-visibility.ts'

export interface ShareChanges {
  extend(
    principal: Principal,
    shareId: string,
    options: { newSizeGib: number; force: boolean; requestId: string },
  ): Promise<void>
  /** Always refused: XFS does not shrink. Says what is used where the new size would be less. */
  shrink(principal: Principal, shareId: string, newSizeGib: number): Promise<void>
  /** A real cancel of the operation that is under way; where none is, a repair of the record. */
  resetStatus(principal: Principal, shareId: string, status: Share['status']): Promise<void>
  /** null: none. */
  resetTaskState(principal: Principal, shareId: string, taskState: ShareTaskState | null): Promise<void>
}

export interface ShareChangeSources {
  shares: ShareRecords
  types: Pick<ShareTypeRecords, 'find'>
  quotas: Pick<ShareQuotaRecords, 'beginExtend'>
  engine: OperationEngine
  agents: Pick<Agents, 'shares'>
  topology: Pick<Topology, 'clusters'>
  volumes: Pick<VolumeRecords, 'find'>
  copies: Pick<CopyRecords, 'find'>
}

export const createShareChanges = (sources: ShareChangeSources): ShareChanges => ({
  extend: (principal, shareId, options) => extend(sources, principal, shareId, options),
  shrink: (principal, shareId, newSizeGib) => shrink(sources, principal, shareId, newSizeGib),
  async resetStatus(principal, shareId, status) {
    const { shares, engine } = sources
    const share = await administeredShare(shares, principal, shareId, 'share:reset_status')
    // While an operation is under way the reset is its cancel, and nothing else: it leaves the status that is true.
    if ((await cancelOperationOn(engine, { type: 'share', id: shareId })) !== 'none') return
    if (status === 'available' && share.exportId === null) {
      throw invalidShare(`Share ${shareId} has no data: its creation failed. Delete it.`)
    }
    if (status === 'migrating' || status === 'creating' || status === 'deleting') {
      throw invalidShare(
        `No operation on share ${shareId} is under way that would end the status ${status}. Reset it to available, ` +
          'error or error_deleting.',
      )
    }
    await shares.update(shareId, { status })
  },
  async resetTaskState(principal, shareId, taskState) {
    const { shares, engine } = sources
    const share = await administeredShare(shares, principal, shareId, 'share:reset_task_state')
    if ((await cancelOperationOn(engine, { type: 'share', id: shareId })) !== 'none') return
    const status = share.status === 'migrating' ? { status: 'available' as const } : {}
    await shares.update(shareId, { taskState, ...status })
  },
})

async function extend(
  sources: ShareChangeSources,
  principal: Principal,
  shareId: string,
  { newSizeGib, force, requestId }: { newSizeGib: number; force: boolean; requestId: string },
): Promise<void> {
  const { shares, types, quotas, engine } = sources
  const share = await changeableShare(shares, principal, shareId, 'share:extend')
  if (force) enforce(principal, 'share:force_extend', 'admin')
  requireIdle(share)
  const refused = ({ status }: Share) =>
    invalidShare(`Share ${shareId} status must be 'available' to extend, but current status is: ${status}.`)
  if (share.status !== 'available') throw refused(share)
  if (newSizeGib <= share.sizeGib) {
    throw invalidShareInput(
      `New size for extend must be greater than current size. (current: ${share.sizeGib}, extended: ${newSizeGib}).`,
    )
  }
  if (newSizeGib > largestShareGib) {
    throw invalidShareInput(
      `New size ${newSizeGib} is larger than ${largestShareGib} GiB, the most a share can have.`,
    )
  }
  const type = await types.find(share.shareTypeId)
  if (type !== undefined) requireTypeSize(type, newSizeGib, isAdmin(principal) ? 'admin-extend' : 'extend')
  await requireRoom(sources, share, newSizeGib)
  await requireFree(engine, shareId)
  if (!(await quotas.beginExtend(share, newSizeGib))) throw refused(await shares.get(shareId))
  try {
    const { projectId, sizeGib: oldSizeGib } = share
    await engine.start(extendShare, { shareId, projectId, requestId, oldSizeGib, newSizeGib })
  } catch (error) {
    await shares.updateIf(shareId, { status: ['extending'] }, { status: 'available' })
    throw error
  }
}

/** The file system grows in its image, and that does not grow while it is exported. */
async function requireRoom(sources: ShareChangeSources, share: Share, newSizeGib: number): Promise<void> {
  const volume = share.volumeId === null ? undefined : await sources.volumes.find(share.volumeId)
  const copy = volume?.imageId == null ? undefined : await sources.copies.find(volume.imageId)
  if (copy === undefined) throw invalidShare(`Share ${share.id} has no data: its creation failed. Delete it.`)
  const mostGib = Math.floor(copy.sizeBytes / gib)
  if (newSizeGib <= mostGib) return
  throw invalidShareInput(
    `Share ${share.id} can grow to ${mostGib} GiB while it is exported, and ${newSizeGib} are asked for. Create a share of ` +
      'that size, of a snapshot of this one for example.',
  )
}

async function requireFree(engine: Pick<OperationEngine, 'holderOf'>, shareId: string): Promise<void> {
  const holder = await engine.holderOf(`share/${shareId}`)
  if (!isInTheWay(holder)) return
  throw new DomainError(
    'conflict',
    `Operation ${holder.id} (${holder.kind}) is working on share ${shareId}. Wait for its end.`,
  )
}

async function shrink(
  sources: ShareChangeSources,
  principal: Principal,
  shareId: string,
  newSizeGib: number,
): Promise<void> {
  const { shares, agents, topology } = sources
  const share = await changeableShare(shares, principal, shareId, 'share:shrink')
  if (share.status !== 'available') {
    throw invalidShare(
      `Share ${shareId} status must in (available, shrinking_possible_data_loss_error) to shrink, but current status ` +
        `is: ${share.status}.`,
    )
  }
  requireIdle(share)
  if (newSizeGib >= share.sizeGib || newSizeGib <= 0) {
    throw invalidShareInput(
      `New size for shrink must be less than current size and greater than 0 (current: ${share.sizeGib}, new: ` +
        `${newSizeGib}).`,
    )
  }
  const node = topology.clusters.find(({ name }) => name === share.cluster)?.shares?.node
  const status = node === undefined ? undefined : await agents.shares(node).shareStatus(shareId)
  const usedBytes = status?.fileSystem?.usedBytes ?? 0
  if (usedBytes > newSizeGib * gib) {
    throw invalidShare(
      `Share ${shareId} could not be shrunk due to possible data loss: ${(usedBytes / gib).toFixed(2)} GiB are used, and ` +
        `${newSizeGib} GiB are asked for.`,
    )
  }
  throw invalidShare(
    `Share ${shareId} could not be shrunk: its file system is XFS, which does not shrink. Create a share of ` +
      `${newSizeGib} GiB, copy the files, and delete this one. What is not used takes no room on the aggregate.`,
  )
}
