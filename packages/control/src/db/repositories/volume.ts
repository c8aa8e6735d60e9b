import { DomainError } from '@volant/contract'
import type { Insertable, Kysely, Selectable, Updateable } from 'kysely'
import type { MigrationStatus, Volume, VolumeStatus } from '../../domain/volume.ts'
import type { Clock } from '../../ports/clock.ts'
import type { VolumeRecords } from '../../ports/records.ts'
import { prepared, tupleOf, type Tuple } from '../prepared.ts'
import type { Database } from '../schema.ts'
import type { VolumeTable } from '../tables/storage.ts'
import { removeAttachments } from './tombstone.ts'

export const volumeNotFound = (volumeId: string): DomainError =>
  new DomainError('notFound', `Volume ${volumeId} could not be found.`)

export function volumeRecords(db: Kysely<Database>, clock: Clock): VolumeRecords {
  const byId = prepared<{ id: string }, VolumeTuple>(db, (given) =>
    db.selectFrom('volumes').select(volumeColumns).where('id', '=', given('id')),
  )
  const find = async (volumeId: string): Promise<Volume | undefined> => {
    const [row] = await byId({ id: volumeId })
    return row === undefined ? undefined : volumeOfTuple(row)
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

/** All of them, in the order in which `volumeOfTuple` takes them. */
export const volumeColumns = [
  'id',
  'project_id',
  'user_id',
  'name',
  'description',
  'size_gib',
  'status',
  'migration_status',
  'previous_status',
  'bootable',
  'multiattach',
  'availability_zone',
  'volume_type_id',
  'flexvol_id',
  'image_id',
  'source_volid',
  'snapshot_id',
  'share_id',
  'root_of',
  'metadata',
  'image_metadata',
  'created_at',
  'updated_at',
] as const satisfies (keyof VolumeTable)[]

export type VolumeTuple = Tuple<VolumeTable, typeof volumeColumns>

export const volumeOfTuple = (row: VolumeTuple): Volume => ({
  id: row[0],
  projectId: row[1],
  userId: row[2],
  name: row[3],
  description: row[4],
  sizeGib: row[5],
  status: row[6] as VolumeStatus,
  migrationStatus: row[7] as MigrationStatus | null,
  previousStatus: row[8] as VolumeStatus | null,
  bootable: row[9] !== 0,
  multiattach: row[10] !== 0,
  availabilityZone: row[11],
  volumeTypeId: row[12],
  flexvolId: row[13],
  imageId: row[14],
  sourceVolid: row[15],
  snapshotId: row[16],
  shareId: row[17],
  rootOf: row[18],
  metadata: textsOf(row[19]),
  imageMetadata: textsOf(row[20]),
  createdAt: row[21],
  updatedAt: row[22],
})

export const volumeOf = (row: Selectable<VolumeTable>): Volume => volumeOfTuple(tupleOf(row, volumeColumns))

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
function changedColumns(fields: Partial<Omit<Volume, 'id'>>): Updateable<VolumeTable> {
  const set: Updateable<VolumeTable> = {}
  for (const key of Object.keys(columns) as (keyof Columns)[]) {
    const value = fields[key]
    if (value !== undefined) Object.assign(set, (columns[key] as (value: unknown) => object)(value))
  }
  return set
}

export const volumeRow = (volume: Volume): Insertable<VolumeTable> =>
  ({ id: volume.id, ...changedColumns(volume) }) as Insertable<VolumeTable>
