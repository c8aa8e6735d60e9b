import { DomainError } from '@volant/contract'
import type { Kysely } from 'kysely'
import {
  defaultQuotas,
  quotaResources,
  requireQuota,
  type QuotaLimits,
  type QuotaResource,
  type QuotaUsage,
} from '../../domain/quota.ts'
import { gib, type Volume } from '../../domain/volume.ts'
import type { BlockQuotaRecords } from '../../ports/block-storage.ts'
import type { Database } from '../schema.ts'
import { snapshotRow } from './snapshot.ts'
import { volumeRow } from './volume.ts'

export function blockQuotaRecords(db: Kysely<Database>): BlockQuotaRecords {
  return {
    limits: (projectId) => limitsOf(db, projectId),
    classLimits: (className) => classLimitsOf(db, className),
    setLimits: (projectId, limits) =>
      db.transaction().execute(async (trx) => {
        for (const [resource, hard_limit] of given(limits)) {
          await trx
            .insertInto('block_quotas')
            .values({ project_id: projectId, resource, hard_limit })
            .onConflict((c) => c.columns(['project_id', 'resource']).doUpdateSet({ hard_limit }))
            .execute()
        }
      }),
    setClassLimits: (className, limits) =>
      db.transaction().execute(async (trx) => {
        for (const [resource, hard_limit] of given(limits)) {
          await trx
            .insertInto('block_quota_classes')
            .values({ class_name: className, resource, hard_limit })
            .onConflict((c) => c.columns(['class_name', 'resource']).doUpdateSet({ hard_limit }))
            .execute()
        }
      }),
    async clearLimits(projectId) {
      await db.deleteFrom('block_quotas').where('project_id', '=', projectId).execute()
    },
    usage: (projectId) => usageOf(db, projectId),
    createVolume: (volume) =>
      db.transaction().execute(async (trx) => {
        const limits = await limitsOf(trx, volume.projectId)
        const usage = await usageOf(trx, volume.projectId)
        requireQuota(limits, usage, { volumes: 1, gigabytes: volume.sizeGib, volumeGib: volume.sizeGib })
        if (volume.snapshotId !== null) await requireAvailable(trx, volume.snapshotId)
        await trx.insertInto('volumes').values(volumeRow(volume)).execute()
      }),
    createSnapshot: (snapshot, statuses) =>
      db.transaction().execute(async (trx) => {
        const volume = await trx
          .selectFrom('volumes')
          .select('id')
          .where('id', '=', snapshot.volumeId)
          .where('status', 'in', [...statuses])
          .where((eb) =>
            eb.or([eb('migration_status', 'is', null), eb('migration_status', 'in', ['success', 'error'])]),
          )
          .executeTakeFirst()
        if (volume === undefined) return false
        const limits = await limitsOf(trx, snapshot.projectId)
        const usage = await usageOf(trx, snapshot.projectId)
        requireQuota(limits, usage, { snapshots: 1, gigabytes: snapshot.sizeGib })
        await trx.insertInto('snapshots').values(snapshotRow(snapshot)).execute()
        return true
      }),
    beginExtend: (volume, newSizeGib) => db.transaction().execute((trx) => reserve(trx, volume, newSizeGib)),
    finishExtend: (volumeId, { sizeGib, status, at }) =>
      db.transaction().execute(async (trx) => {
        const size = sizeGib === undefined ? {} : { size_gib: sizeGib }
        await trx
          .updateTable('volumes')
          .set({ ...size, status, previous_status: null, updated_at: at })
          .where('id', '=', volumeId)
          .where('status', '=', 'extending')
          .execute()
        if (sizeGib !== undefined) {
          await trx
            .updateTable('copies')
            .set({ size_bytes: sizeGib * gib })
            .where('volume_id', '=', volumeId)
            .where('snapshot_id', 'is', null)
            .where('state', '=', 'live')
            .execute()
        }
        await trx.deleteFrom('block_quota_reservations').where('volume_id', '=', volumeId).execute()
      }),
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
    `Invalid snapshot: Originating snapshot ${snapshotId} status must be available, but it is ` +
      `${snapshot?.status ?? 'deleted'}.`,
  )
}

async function reserve(db: Kysely<Database>, volume: Volume, newSizeGib: number): Promise<boolean> {
  const growth = newSizeGib - volume.sizeGib
  const changed = await db
    .updateTable('volumes')
    .set({ status: 'extending', previous_status: volume.status })
    .where('id', '=', volume.id)
    .where('status', '=', volume.status)
    .where('size_gib', '=', volume.sizeGib)
    .executeTakeFirst()
  if (changed.numUpdatedRows === 0n) return false
  const limits = await limitsOf(db, volume.projectId)
  const usage = await usageOf(db, volume.projectId)
  requireQuota(limits, usage, { gigabytes: growth, volumeGib: newSizeGib })
  await db
    .insertInto('block_quota_reservations')
    .values({ volume_id: volume.id, project_id: volume.projectId, gigabytes: growth })
    .onConflict((c) => c.column('volume_id').doUpdateSet({ gigabytes: growth }))
    .execute()
  return true
}

const given = (limits: Partial<QuotaLimits>) =>
  Object.entries(limits).filter(([, limit]) => limit !== undefined)

async function classLimitsOf(db: Kysely<Database>, className: string): Promise<QuotaLimits> {
  const rows = await db
    .selectFrom('block_quota_classes')
    .select(['resource', 'hard_limit'])
    .where('class_name', '=', className)
    .execute()
  return merged(defaultQuotas, rows)
}

async function limitsOf(db: Kysely<Database>, projectId: string): Promise<QuotaLimits> {
  const defaults = await classLimitsOf(db, 'default')
  const rows = await db
    .selectFrom('block_quotas')
    .select(['resource', 'hard_limit'])
    .where('project_id', '=', projectId)
    .execute()
  return merged(defaults, rows)
}

function merged(base: QuotaLimits, rows: { resource: string; hard_limit: number }[]): QuotaLimits {
  const limits = { ...base }
  for (const row of rows) {
    if ((quotaResources as readonly string[]).includes(row.resource)) {
      limits[row.resource as QuotaResource] = row.hard_limit
    }
  }
  return limits
}

/** Shares have quotas of their own; a server's root disk counts in none. */
async function usageOf(db: Kysely<Database>, projectId: string): Promise<QuotaUsage> {
  const rows = await db.selectFrom('block_usage').selectAll().where('project_id', '=', projectId).execute()
  const reserved = await db
    .selectFrom('block_quota_reservations')
    .select((eb) => eb.fn.sum<number | null>('gigabytes').as('size'))
    .where('project_id', '=', projectId)
    .executeTakeFirstOrThrow()
  const of = (kind: string) => rows.find((row) => row.kind === kind) ?? { count: 0, size_gib: 0 }
  const volumes = of('volume')
  const snapshots = of('snapshot')
  return {
    volumes: volumes.count,
    snapshots: snapshots.count,
    gigabytes: volumes.size_gib + snapshots.size_gib + Number(reserved.size ?? 0),
  }
}
