import { DomainError } from '@volant/contract'
import type { Insertable, Kysely, Selectable } from 'kysely'
import { defaultTypeId, defaultTypeName, type VolumeType } from '../../domain/volume-type.ts'
import type { VolumeTypeRecords } from '../../ports/block-storage.ts'
import type { Database } from '../schema.ts'
import type { VolumeTypeTable } from '../tables/block-storage.ts'

export function volumeTypeRecords(db: Kysely<Database>): VolumeTypeRecords {
  const first = async (column: 'id' | 'name', value: string): Promise<VolumeType | undefined> => {
    const row = await db.selectFrom('volume_types').selectAll().where(column, '=', value).executeTakeFirst()
    return row === undefined ? undefined : typeOf(row)
  }
  const insert = (type: VolumeType) =>
    db
      .insertInto('volume_types')
      .values(rowOf(type))
      .onConflict((c) => c.column('name').doNothing())
      .executeTakeFirst()
  return {
    ...accessRecords(db),
    async ensureDefault(now) {
      await insert({
        id: defaultTypeId,
        name: defaultTypeName,
        description: 'Default Volume Type',
        isPublic: true,
        extraSpecs: {},
        createdAt: now,
        updatedAt: null,
      })
    },
    find: (id) => first('id', id),
    findByName: (name) => first('name', name),
    async findMany(ids) {
      if (ids.length === 0) return []
      const rows = await db.selectFrom('volume_types').selectAll().where('id', 'in', ids).execute()
      return rows.map(typeOf)
    },
    async list() {
      const rows = await db.selectFrom('volume_types').selectAll().orderBy('created_at', 'desc').execute()
      return rows.map(typeOf)
    },
    async create(type) {
      const result = await insert(type)
      if (result.numInsertedOrUpdatedRows === 0n) {
        throw new DomainError('conflict', `Volume Type ${type.name} already exists.`)
      }
    },
    async update(id, fields) {
      const { name, description, isPublic, extraSpecs, updatedAt } = fields
      const set = {
        ...(name !== undefined && { name }),
        ...(description !== undefined && { description }),
        ...(isPublic !== undefined && { is_public: isPublic ? 1 : 0 }),
        ...(extraSpecs !== undefined && { extra_specs: JSON.stringify(extraSpecs) }),
        ...(updatedAt !== undefined && { updated_at: updatedAt }),
      }
      await db.updateTable('volume_types').set(set).where('id', '=', id).execute()
    },
    removeUnused: (id) => removeUnused(db, id),
  }
}

const removeUnused = (db: Kysely<Database>, id: string): Promise<boolean> =>
  db.transaction().execute(async (trx) => {
    const used = await trx
      .selectFrom('volumes')
      .select('id')
      .where('volume_type_id', '=', id)
      .limit(1)
      .executeTakeFirst()
    if (used !== undefined) return false
    await trx.deleteFrom('volume_types').where('id', '=', id).execute()
    return true
  })

type AccessRecords = Pick<VolumeTypeRecords, 'projectsOf' | 'accessibleTo' | 'addAccess' | 'removeAccess'>

const accessRecords = (db: Kysely<Database>): AccessRecords => ({
  async projectsOf(id) {
    const rows = await db
      .selectFrom('volume_type_access')
      .select('project_id')
      .where('volume_type_id', '=', id)
      .orderBy('project_id')
      .execute()
    return rows.map((row) => row.project_id)
  },
  async accessibleTo(projectId) {
    const rows = await db
      .selectFrom('volume_type_access')
      .select('volume_type_id')
      .where('project_id', '=', projectId)
      .execute()
    return rows.map((row) => row.volume_type_id)
  },
  async addAccess(id, projectId) {
    const result = await db
      .insertInto('volume_type_access')
      .values({ volume_type_id: id, project_id: projectId })
      .onConflict((c) => c.columns(['volume_type_id', 'project_id']).doNothing())
      .executeTakeFirst()
    return (result.numInsertedOrUpdatedRows ?? 0n) > 0n
  },
  async removeAccess(id, projectId) {
    const result = await db
      .deleteFrom('volume_type_access')
      .where('volume_type_id', '=', id)
      .where('project_id', '=', projectId)
      .executeTakeFirst()
    return result.numDeletedRows > 0n
  },
})

const typeOf = (row: Selectable<VolumeTypeTable>): VolumeType => ({
  id: row.id,
  name: row.name,
  description: row.description,
  isPublic: row.is_public !== 0,
  extraSpecs: JSON.parse(row.extra_specs) as Record<string, string>,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

const rowOf = (type: VolumeType): Insertable<VolumeTypeTable> => ({
  id: type.id,
  name: type.name,
  description: type.description,
  is_public: type.isPublic ? 1 : 0,
  extra_specs: JSON.stringify(type.extraSpecs),
  created_at: type.createdAt,
  updated_at: type.updatedAt,
})
