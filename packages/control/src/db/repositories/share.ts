import type { Insertable, Kysely, Selectable, Updateable } from 'kysely'
import { DomainError } from '@volant/contract'
import type { Share } from '../../domain/share.ts'
import type { Clock } from '../../ports/clock.ts'
import type { ShareRecords } from '../../ports/shares.ts'
import { defined, flag, isSet, parseObject } from '../columns.ts'
import type { Database } from '../schema.ts'
import type { ShareTable } from '../tables/share.ts'
import { removeShare } from './tombstone.ts'

/** Of these the file system and the export may be gone, or not be there yet. */
const notServed: readonly Share['status'][] = [
  'creating',
  'creating_from_snapshot',
  'deleting',
  'error_deleting',
]

export const toShare = (row: Selectable<ShareTable>): Share => ({
  id: row.id,
  projectId: row.project_id,
  userId: row.user_id,
  name: row.name,
  description: row.description,
  sizeGib: row.size_gib,
  status: row.status as Share['status'],
  taskState: row.task_state as Share['taskState'],
  shareTypeId: row.share_type_id,
  isPublic: isSet(row.is_public),
  snapshotSupport: isSet(row.snapshot_support),
  createShareFromSnapshotSupport: isSet(row.create_share_from_snapshot_support),
  revertToSnapshotSupport: isSet(row.revert_to_snapshot_support),
  mountSnapshotSupport: isSet(row.mount_snapshot_support),
  rootSquash: isSet(row.root_squash),
  sourceSnapshotId: row.source_snapshot_id,
  cluster: row.cluster,
  flexvolId: row.flexvol_id,
  volumeId: row.volume_id,
  exportId: row.export_id,
  accessRulesStatus: row.access_rules_status as Share['accessRulesStatus'],
  migration: row.migration === null ? null : (JSON.parse(row.migration) as Share['migration']),
  metadata: parseObject<string>(row.metadata),
  availabilityZone: row.availability_zone,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

const flagged = (value: boolean | undefined): number | undefined =>
  value === undefined ? undefined : flag(value)

const shareColumns = (share: Partial<Share>): Updateable<ShareTable> =>
  defined({
    id: share.id,
    project_id: share.projectId,
    user_id: share.userId,
    name: share.name,
    description: share.description,
    size_gib: share.sizeGib,
    status: share.status,
    task_state: share.taskState,
    share_type_id: share.shareTypeId,
    is_public: flagged(share.isPublic),
    snapshot_support: flagged(share.snapshotSupport),
    create_share_from_snapshot_support: flagged(share.createShareFromSnapshotSupport),
    revert_to_snapshot_support: flagged(share.revertToSnapshotSupport),
    mount_snapshot_support: flagged(share.mountSnapshotSupport),
    root_squash: flagged(share.rootSquash),
    source_snapshot_id: share.sourceSnapshotId,
    cluster: share.cluster,
    flexvol_id: share.flexvolId,
    volume_id: share.volumeId,
    export_id: share.exportId,
    access_rules_status: share.accessRulesStatus,
    migration:
      share.migration === undefined || share.migration === null
        ? share.migration
        : JSON.stringify(share.migration),
    metadata: share.metadata === undefined ? undefined : JSON.stringify(share.metadata),
    availability_zone: share.availabilityZone,
    created_at: share.createdAt,
    updated_at: share.updatedAt,
  })

/** A whole row. */
export const shareRow = (share: Share): Insertable<ShareTable> =>
  shareColumns(share) as Insertable<ShareTable>

export function shareRecords(db: Kysely<Database>, clock: Clock): ShareRecords {
  const find = async (shareId: string): Promise<Share | undefined> => {
    const row = await db.selectFrom('shares').selectAll().where('id', '=', shareId).executeTakeFirst()
    return row && toShare(row)
  }
  const changed = (fields: Partial<Omit<Share, 'id'>>): Updateable<ShareTable> =>
    shareColumns({ updatedAt: clock.now().toISOString(), ...fields })
  return {
    find,
    async get(shareId) {
      const share = await find(shareId)
      if (share === undefined) throw new DomainError('notFound', `Share ${shareId} could not be found.`)
      return share
    },
    async list() {
      const rows = await db.selectFrom('shares').selectAll().orderBy('created_at').orderBy('id').execute()
      return rows.map(toShare)
    },
    async served() {
      const rows = await db
        .selectFrom('shares')
        .selectAll()
        .where('volume_id', 'is not', null)
        .where('status', 'not in', [...notServed])
        .orderBy('created_at')
        .orderBy('id')
        .execute()
      return rows.map(toShare)
    },
    async create(share) {
      await db.insertInto('shares').values(shareRow(share)).execute()
    },
    async update(shareId, fields) {
      await db.updateTable('shares').set(changed(fields)).where('id', '=', shareId).execute()
    },
    async updateIf(shareId, expected, fields) {
      const result = await db
        .updateTable('shares')
        .set(changed(fields))
        .where('id', '=', shareId)
        .where('status', 'in', [...expected.status])
        .executeTakeFirst()
      return result.numUpdatedRows > 0n
    },
    remove: (shareId) => removeShare(db, shareId),
  }
}
