import type { Insertable, Kysely, Selectable, Updateable } from 'kysely'
import { DomainError } from '@volant/contract'
import type { Snapshot } from '../../domain/snapshot.ts'
import type { SnapshotRecords } from '../../ports/records.ts'
import { defined, parseObject } from '../columns.ts'
import type { Database } from '../schema.ts'
import type { SnapshotTable } from '../tables/storage.ts'

export const toSnapshot = (row: Selectable<SnapshotTable>): Snapshot => ({
  id: row.id,
  volumeId: row.volume_id,
  projectId: row.project_id,
  userId: row.user_id,
  name: row.name,
  description: row.description,
  sizeGib: row.size_gib,
  status: row.status as Snapshot['status'],
  metadata: parseObject<string>(row.metadata),
  flexvolId: row.flexvol_id,
  shareId: row.share_id,
  imageId: row.image_id,
  method: row.method as Snapshot['method'],
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

const snapshotColumns = (snapshot: Partial<Snapshot>): Updateable<SnapshotTable> =>
  defined({
    id: snapshot.id,
    volume_id: snapshot.volumeId,
    project_id: snapshot.projectId,
    user_id: snapshot.userId,
    name: snapshot.name,
    description: snapshot.description,
    size_gib: snapshot.sizeGib,
    status: snapshot.status,
    metadata: snapshot.metadata === undefined ? undefined : JSON.stringify(snapshot.metadata),
    flexvol_id: snapshot.flexvolId,
    share_id: snapshot.shareId,
    image_id: snapshot.imageId,
    method: snapshot.method,
    created_at: snapshot.createdAt,
    updated_at: snapshot.updatedAt,
  })

export const snapshotRow = (snapshot: Snapshot): Insertable<SnapshotTable> =>
  snapshotColumns(snapshot) as Insertable<SnapshotTable>

export function snapshotRecords(db: Kysely<Database>): SnapshotRecords {
  const find = async (snapshotId: string): Promise<Snapshot | undefined> => {
    const row = await db.selectFrom('snapshots').selectAll().where('id', '=', snapshotId).executeTakeFirst()
    return row && toSnapshot(row)
  }
  const listBy = async (column: 'volume_id' | 'flexvol_id', id: string): Promise<Snapshot[]> => {
    const rows = await db
      .selectFrom('snapshots')
      .selectAll()
      .where(column, '=', id)
      .orderBy('created_at')
      .orderBy('id')
      .execute()
    return rows.map(toSnapshot)
  }
  return {
    find,
    async get(snapshotId) {
      const snapshot = await find(snapshotId)
      if (snapshot === undefined) {
        throw new DomainError('notFound', `Snapshot ${snapshotId} could not be found.`)
      }
      return snapshot
    },
    ofVolume: (volumeId) => listBy('volume_id', volumeId),
    ofFlexVol: (flexvolId) => listBy('flexvol_id', flexvolId),
    async countInFlexVol(flexvolId) {
      const row = await db
        .selectFrom('snapshots')
        .select((eb) => eb.fn.countAll<number>().as('count'))
        .where('flexvol_id', '=', flexvolId)
        .executeTakeFirstOrThrow()
      return Number(row.count)
    },
    async update(snapshotId, fields) {
      await db.updateTable('snapshots').set(snapshotColumns(fields)).where('id', '=', snapshotId).execute()
    },
    async updateIf(snapshotId, expected, fields) {
      const changed = await db
        .updateTable('snapshots')
        .set(snapshotColumns(fields))
        .where('id', '=', snapshotId)
        .where('status', 'in', [...expected.status])
        .executeTakeFirst()
      return changed.numUpdatedRows > 0n
    },
    async remove(snapshotId) {
      await db.deleteFrom('snapshots').where('id', '=', snapshotId).execute()
    },
  }
}
