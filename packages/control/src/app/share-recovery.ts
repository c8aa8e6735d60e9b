import { randomUUID } from 'node:crypto'
import { isDomainError } from '@volant/contract'
import {
  shareMessageEvents,
  shareMessageLifetimeDays,
  type ShareMessage,
  type ShareMessageEvent,
} from '../domain/share-message.ts'
import type { Share, ShareStatus } from '../domain/share.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import { deleteShare } from '../operations/delete-share.ts'
import { deleteSnapshot } from '../operations/delete-snapshot.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { SnapshotRecords } from '../ports/records.ts'
import type { ShareLists, ShareMessageRecords } from '../ports/share-records.ts'
import type { ShareRecords, ShownSnapshotRecords } from '../ports/shares.ts'

export interface ShareRecoverySources {
  shares: Pick<ShareRecords, 'updateIf'>
  shareLists: Pick<ShareLists, 'page' | 'snapshotPage'>
  snapshots: Pick<SnapshotRecords, 'updateIf'>
  shown: Pick<ShownSnapshotRecords, 'find'>
  shareMessages: Pick<ShareMessageRecords, 'put'>
  engine: Pick<OperationEngine, 'holderOf' | 'start'>
  clock: Clock
}

const passing: readonly ShareStatus[] = [
  'creating',
  'creating_from_snapshot',
  'extending',
  'reverting',
  'migrating',
  'deleting',
]

const passingSnapshots: readonly Snapshot['status'][] = ['creating', 'restoring', 'deleting']

/**
 * Shares and their snapshots that a request has claimed and then never started the operation for get their end: see
 * `recoverVolumes`. `idleMs`: the time for which one must have been left alone.
 */
export async function recoverShares(
  sources: ShareRecoverySources,
  idleMs = 0,
): Promise<{ recovered: string[] }> {
  const { shareLists, engine, clock } = sources
  const isIdle = ({ updatedAt, createdAt }: Pick<Share, 'updatedAt' | 'createdAt'>): boolean =>
    clock.now().getTime() - Date.parse(updatedAt ?? createdAt) >= idleMs
  const all = { sort: [{ key: 'created_at', direction: 'asc' }] as const, limit: 100_000, offset: 0 }
  const recovered: string[] = []
  for (const status of passing) {
    for (const share of await shareLists.page({ ...all, sort: [...all.sort], filter: { status } })) {
      const key = status === 'migrating' ? `share-migration/${share.id}` : `share/${share.id}`
      if (!isIdle(share) || (await engine.holderOf(key)) !== undefined) continue
      if (await settle(sources, share)) recovered.push(share.id)
    }
  }
  for (const status of passingSnapshots) {
    const page = { ...all, sort: [...all.sort], filter: { status } }
    for (const snapshot of await shareLists.snapshotPage(page)) {
      // A share that is being reverted holds the snapshot's key, too.
      if (!isIdle(snapshot) || (await engine.holderOf(`snapshot/${snapshot.id}`)) !== undefined) continue
      if (await settleSnapshot(sources, snapshot)) recovered.push(snapshot.id)
    }
  }
  return { recovered }
}

async function settle(sources: ShareRecoverySources, share: Share): Promise<boolean> {
  const { shares, engine } = sources
  const { id, projectId, status, volumeId, flexvolId } = share
  const become = (fields: Partial<Omit<Share, 'id'>>): Promise<boolean> =>
    shares.updateIf(id, { status: [status] }, fields)
  switch (status) {
    case 'deleting': {
      const requestId = `req-${randomUUID()}`
      const input = { shareId: id, volumeId, flexvolId, projectId, requestId }
      return unlessInTheWay(() => engine.start(deleteShare, input))
    }
    case 'migrating':
      return become({ status: 'available', taskState: 'migration_error' })
    case 'extending':
    case 'reverting':
      return become({ status: 'available' })
    default:
      await tell(sources, projectId, { resourceType: 'SHARE', resourceId: id }, 'share')
      return become({ status: 'error' })
  }
}

async function settleSnapshot(
  { snapshots, engine, ...sources }: ShareRecoverySources,
  { id, projectId, status }: Snapshot,
): Promise<boolean> {
  switch (status) {
    case 'deleting': {
      const requestId = `req-${randomUUID()}`
      const shown = await sources.shown.find(id)
      const volume = shown === undefined ? {} : { shownVolumeId: shown.volumeId }
      const input = { snapshotId: id, projectId, requestId, ...volume }
      return unlessInTheWay(() => engine.start(deleteSnapshot, input))
    }
    case 'restoring':
      return snapshots.updateIf(id, { status: ['restoring'] }, { status: 'available' })
    default:
      await tell(sources, projectId, { resourceType: 'SHARE_SNAPSHOT', resourceId: id }, 'snapshot')
      return snapshots.updateIf(id, { status: ['creating'] }, { status: 'error' })
  }
}

/** False: something else is being done with what it needs, such as the move of its FlexVol; the next pass tries again. */
async function unlessInTheWay(start: () => Promise<unknown>): Promise<boolean> {
  try {
    await start()
    return true
  } catch (error) {
    if (isDomainError(error) && error.code === 'conflict') return false
    throw error
  }
}

const created: ShareMessageEvent = shareMessageEvents.createFailed

async function tell(
  { shareMessages, clock }: Pick<ShareRecoverySources, 'shareMessages' | 'clock'>,
  projectId: string,
  about: Pick<ShareMessage, 'resourceType' | 'resourceId'>,
  what: string,
): Promise<void> {
  const now = clock.now()
  await shareMessages.put({
    id: randomUUID(),
    projectId,
    requestId: null,
    ...about,
    ...created,
    text: `The service was stopped before it could begin to create the ${what}. Delete it and create it again.`,
    createdAt: now.toISOString(),
    expiresAt: new Date(now.getTime() + shareMessageLifetimeDays * 86_400_000).toISOString(),
  })
}
