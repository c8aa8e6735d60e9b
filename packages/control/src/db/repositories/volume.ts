import { DomainError } from '@volant/contract'
import type { Insertable, Kysely, Selectable, Updateable } from 'kysely'
import type { MigrationStatus, Volume, VolumeStatus } from '../../domain/volume.ts'
import type { Clock } from '../../ports/clock.ts'
import type { VolumeRecords } from '../../ports/records.ts'
import type { Database } from '../schema.ts'
import type { VolumeTable } from '../tables/storage.ts'
import { removeAttachments } from './tombstone.ts'

export const volumeNotFound = (volumeId: string): DomainError =>
  new DomainError('notFound', `Volume ${volumeId} could not be found.`)

export function volumeRecords(db: Kysely<Database>, clock: Clock): VolumeRecords {
  const find = async (volumeId: string): Promise<Volume | undefined> => {
    const row = await db.selectFrom('volumes').selectAll().where('id', '=', volumeId).executeTakeFirst()
    return row === undefined ? undefined : volumeOf(row)
  }
  return {
    find,
    async get(volumeId) {
      const volume = await find(volumeId)
      if (volume === undefined) throw volumeNotFound(volumeId)
      return volume
    },
    async create(volume) {
      await db.insertInto('volumes').values(volumeRow(volume)).execute()
    },
    async update(volumeId, fields) {
      const set = { updated_at: clock.now().toISOString(), ...changedColumns(fields) }
      await db.updateTable('volumes').set(set).where('id', '=', volumeId).execute()
    },
    async updateIf(volumeId, expected, fields) {
      const set = { updated_at: clock.now().toISOString(), ...changedColumns(fields) }
      let query = db.updateTable('volumes').set(set).where('id', '=', volumeId)
      if (expected.status !== undefined) query = query.where('status', 'in', [...expected.status])
      if (expected.updatedAt !== undefined) query = query.where('updated_at', '=', expected.updatedAt)
      const migration = expected.migrationStatus
      if (migration !== undefined) {
        const named = migration.filter((status) => status !== null)
        query = query.where((eb) =>
          eb.or([
            ...(named.length === 0 ? [] : [eb('migration_status', 'in', named)]),
            ...(migration.includes(null) ? [eb('migration_status', 'is', null)] : []),
          ]),
        )
      }
      const result = await query.executeTakeFirst()
      return result.numUpdatedRows > 0n
    },
    async remove(volumeId) {
      await db.transaction().execute(async (trx) => {
        await trx.deleteFrom('block_quota_reservations').where('volume_id', '=', volumeId).execute()
        await removeAttachments(trx, { volumeId })
        await trx.deleteFrom('volumes').where('id', '=', volumeId).execute()
      })
    },
  }
}

export const volumeOf = (row: Selectable<VolumeTable>): Volume => ({
  id: row.id,
  projectId: row.project_id,
  userId: row.user_id,
  name: row.name,
  description: row.description,
  sizeGib: row.size_gib,
  status: row.status as VolumeStatus,
  migrationStatus: row.migration_status as MigrationStatus | null,
  previousStatus: row.previous_status as VolumeStatus | null,
  bootable: row.bootable !== 0,
  multiattach: row.multiattach !== 0,
  availabilityZone: row.availability_zone,
  volumeTypeId: row.volume_type_id,
  flexvolId: row.flexvol_id,
  imageId: row.image_id,
  sourceVolid: row.source_volid,
  snapshotId: row.snapshot_id,
  shareId: row.share_id,
  rootOf: row.root_of,
  metadata: textsOf(row.metadata),
  imageMetadata: textsOf(row.image_metadata),
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

/** Most volumes have no metadata; those need no parser. */
const textsOf = (json: string): Record<string, string> =>
  json === '{}' ? {} : (JSON.parse(json) as Record<string, string>)

type Columns = { [K in keyof Omit<Volume, 'id'>]: (value: Volume[K]) => Updateable<VolumeTable> }

const columns: Columns = {
  projectId: (v) => ({ project_id: v }),
  userId: (v) => ({ user_id: v }),
  name: (v) => ({ name: v }),
  description: (v) => ({ description: v }),
  sizeGib: (v) => ({ size_gib: v }),
  status: (v) => ({ status: v }),
  migrationStatus: (v) => ({ migration_status: v }),
  previousStatus: (v) => ({ previous_status: v }),
  bootable: (v) => ({ bootable: v ? 1 : 0 }),
  multiattach: (v) => ({ multiattach: v ? 1 : 0 }),
  availabilityZone: (v) => ({ availability_zone: v }),
  volumeTypeId: (v) => ({ volume_type_id: v }),
  flexvolId: (v) => ({ flexvol_id: v }),
  imageId: (v) => ({ image_id: v }),
  snapshotId: (v) => ({ snapshot_id: v }),
  shareId: (v) => ({ share_id: v }),
  rootOf: (v) => ({ root_of: v }),
  sourceVolid: (v) => ({ source_volid: v }),
  metadata: (v) => ({ metadata: JSON.stringify(v) }),
  imageMetadata: (v) => ({ image_metadata: JSON.stringify(v) }),
  createdAt: (v) => ({ created_at: v }),
  updatedAt: (v) => ({ updated_at: v }),
}

/** The columns of the fields that are there; `undefined` means unchanged. */
export function changedColumns(fields: Partial<Omit<Volume, 'id'>>): Updateable<VolumeTable> {
  const set: Updateable<VolumeTable> = {}
  for (const key of Object.keys(columns) as (keyof Columns)[]) {
    const value = fields[key]
    if (value !== undefined) Object.assign(set, (columns[key] as (value: unknown) => object)(value))
  }
  return set
}

export const volumeRow = (volume: Volume): Insertable<VolumeTable> =>
  ({ id: volume.id, ...changedColumns(volume) }) as Insertable<VolumeTable>
