import { DomainError } from '@volant/contract'
import type { Kysely } from 'kysely'
import {
  defaultShareQuotas,
  requireShareQuota,
  requireShareSize,
  shareQuotaResources,
  type ShareQuotaLimits,
  type ShareQuotaScope,
  type ShareQuotaUsage,
} from '../../domain/share-quota.ts'
import type { Share } from '../../domain/share.ts'
import type { ShareQuotaRecords } from '../../ports/share-records.ts'
import type { Database } from '../schema.ts'
import { shareRow } from './share.ts'
import { snapshotRow } from './snapshot.ts'

/** The row of the limits that hold where a project has none of its own. */
const defaults: ShareQuotaScope = { projectId: 'default' }

export function shareQuotaRecords(db: Kysely<Database>): ShareQuotaRecords {
  const setLimits: ShareQuotaRecords['setLimits'] = (scope, limits) =>
    db.transaction().execute(async (trx) => {
      for (const [resource, limit] of Object.entries(limits)) {
        if (limit === undefined) continue
        await trx
          .insertInto('share_quotas')
          .values({ project_id: scope.projectId, scope: scopeText(scope), resource, limit })
          .onConflict((c) => c.columns(['project_id', 'scope', 'resource']).doUpdateSet({ limit }))
          .execute()
      }
    })
  return {
    limits: (scope) => limitsOf(db, scope),
    defaults: () => limitsOf(db, defaults),
    setLimits,
    setDefaults: (limits) => setLimits(defaults, limits),
    async clearLimits(scope) {
      let query = db.deleteFrom('share_quotas').where('project_id', '=', scope.projectId)
      if (scopeText(scope) !== '') query = query.where('scope', '=', scopeText(scope))
      await query.execute()
    },
    usage: (scope) => usageOf(db, scope),
    createShare: (share) =>
      db.transaction().execute(async (trx) => {
        requireShareSize(await limitsOf(trx, share), share.sizeGib)
        await requireRoom(trx, share, { shares: 1, gigabytes: share.sizeGib })
        if (share.sourceSnapshotId !== null) await requireAvailable(trx, share.sourceSnapshotId)
        await trx.insertInto('shares').values(shareRow(share)).execute()
      }),
    createSnapshot: (snapshot) =>
      db.transaction().execute(async (trx) => {
        const share = await trx
          .selectFrom('shares')
          .select('share_type_id')
          .where('id', '=', snapshot.shareId ?? '')
          .where('status', '=', 'available')
          .executeTakeFirst()
        if (share === undefined) return false
        const owner = { ...snapshot, shareTypeId: share.share_type_id }
        await requireRoom(trx, owner, { snapshots: 1, snapshot_gigabytes: snapshot.sizeGib })
        await trx.insertInto('snapshots').values(snapshotRow(snapshot)).execute()
        return true
      }),
    beginExtend: (share, newSizeGib) =>
      db.transaction().execute(async (trx) => {
        const growth = newSizeGib - share.sizeGib
        await requireNoSnapshotBeingMade(trx, share.id)
        requireShareSize(await limitsOf(trx, share), newSizeGib)
        await requireRoom(trx, share, { gigabytes: growth })
        const changed = await trx
          .updateTable('shares')
          .set({ status: 'extending', growth_gib: growth })
          .where('id', '=', share.id)
          .where('status', '=', share.status)
          .where('size_gib', '=', share.sizeGib)
          .executeTakeFirst()
        return changed.numUpdatedRows > 0n
      }),
    async requireRoomFor(share, shareTypeId) {
      const snapshots = await snapshotSums(db, { projectId: share.projectId }, share.id)
      requireShareQuota(
        await limitsOf(db, { projectId: share.projectId, shareTypeId }),
        await usageOf(db, { projectId: share.projectId, shareTypeId }),
        { shares: 1, gigabytes: share.sizeGib, ...snapshots },
      )
    },
  }
}

/** The project's limits hold, and those of the user and of the type within it. */
async function requireRoom(
  db: Kysely<Database>,
  owner: Pick<Share, 'projectId' | 'userId' | 'shareTypeId'>,
  growth: Partial<ShareQuotaUsage>,
): Promise<void> {
  const { projectId, userId, shareTypeId } = owner
  for (const scope of [{ projectId }, { projectId, userId }, { projectId, shareTypeId }]) {
    requireShareQuota(await limitsOf(db, scope), await usageOf(db, scope), growth)
  }
}

/** In the transaction that records its user: its deletion asks who uses it. */
async function requireAvailable(db: Kysely<Database>, snapshotId: string): Promise<void> {
  const snapshot = await db
    .selectFrom('snapshots')
    .select('status')
    .where('id', '=', snapshotId)
    .executeTakeFirst()
  if (snapshot?.status === 'available') return
  throw new DomainError(
    'invalid',
    `Invalid share snapshot: status must be 'available', and it is ${snapshot?.status ?? 'deleted'}.`,
  )
}

/** It says how large the share is, and would hold one that is larger. */
async function requireNoSnapshotBeingMade(db: Kysely<Database>, shareId: string): Promise<void> {
  const snapshot = await db
    .selectFrom('snapshots')
    .select('id')
    .where('share_id', '=', shareId)
    .where('status', '=', 'creating')
    .executeTakeFirst()
  if (snapshot === undefined) return
  throw new DomainError(
    'conflict',
    `Snapshot ${snapshot.id} of share ${shareId} is being made. Extend the share when it is there.`,
  )
}

const scopeText = ({ userId, shareTypeId }: ShareQuotaScope): string =>
  shareTypeId !== undefined ? `share_type/${shareTypeId}` : userId !== undefined ? `user/${userId}` : ''

async function limitsOf(
  db: Kysely<Database>,
  { projectId, userId, shareTypeId }: ShareQuotaScope,
): Promise<ShareQuotaLimits> {
  const rows = await db
    .selectFrom('share_quotas')
    .select(['project_id', 'scope', 'resource', 'limit'])
    .where('project_id', 'in', ['default', projectId])
    .execute()
  const limits = { ...defaultShareQuotas }
  // Each overrides the one before.
  const order = [
    { project: 'default', scope: '' },
    { project: projectId, scope: '' },
    { project: projectId, scope: scopeText({ projectId, userId, shareTypeId }) },
  ]
  for (const { project, scope } of order) {
    for (const row of rows) {
      if (row.project_id !== project || row.scope !== scope) continue
      const resource = shareQuotaResources.find((one) => one === row.resource)
      if (resource !== undefined) limits[resource] = row.limit
    }
  }
  return limits
}

async function usageOf(db: Kysely<Database>, scope: ShareQuotaScope): Promise<ShareQuotaUsage> {
  let shares = db
    .selectFrom('shares')
    .select((eb) => [
      eb.fn.countAll<number>().as('count'),
      eb.fn.sum<number | null>('size_gib').as('size'),
      eb.fn
        .sum<number | null>(
          eb.case().when('status', '=', 'extending').then(eb.ref('growth_gib')).else(0).end(),
        )
        .as('growth'),
    ])
    .where('project_id', '=', scope.projectId)
  if (scope.userId !== undefined) shares = shares.where('user_id', '=', scope.userId)
  if (scope.shareTypeId !== undefined) shares = shares.where('share_type_id', '=', scope.shareTypeId)
  const row = await shares.executeTakeFirstOrThrow()
  return {
    shares: Number(row.count),
    gigabytes: Number(row.size ?? 0) + Number(row.growth ?? 0),
    ...(await snapshotSums(db, scope)),
  }
}

/** Of one share, or of all in the scope. */
async function snapshotSums(
  db: Kysely<Database>,
  scope: ShareQuotaScope,
  shareId?: string,
): Promise<Pick<ShareQuotaUsage, 'snapshots' | 'snapshot_gigabytes'>> {
  let snapshots = db
    .selectFrom('snapshots')
    .select((eb) => [eb.fn.countAll<number>().as('count'), eb.fn.sum<number | null>('size_gib').as('size')])
    .where('project_id', '=', scope.projectId)
    .where('share_id', 'is not', null)
  if (shareId !== undefined) snapshots = snapshots.where('share_id', '=', shareId)
  if (scope.userId !== undefined) snapshots = snapshots.where('user_id', '=', scope.userId)
  const { shareTypeId } = scope
  if (shareTypeId !== undefined) {
    snapshots = snapshots.where((eb) =>
      eb('share_id', 'in', eb.selectFrom('shares').select('id').where('share_type_id', '=', shareTypeId)),
    )
  }
  const row = await snapshots.executeTakeFirstOrThrow()
  return { snapshots: Number(row.count), snapshot_gigabytes: Number(row.size ?? 0) }
}
