import { DomainError } from '@volant/contract'
import type { Kysely, Selectable } from 'kysely'
import type { ShareType } from '../../domain/share.ts'
import type { ShareTypeRecords } from '../../ports/shares.ts'
import { defined, flag, isSet, parseObject } from '../columns.ts'
import type { Database } from '../schema.ts'
import type { ShareTypeTable } from '../tables/share.ts'

export const shareTypeRecords = (db: Kysely<Database>): ShareTypeRecords => ({
  async list() {
    const rows = await db.selectFrom('share_types').selectAll().orderBy('created_at').orderBy('id').execute()
    return rows.map(typeOf)
  },
  async find(typeId) {
    const row = await db.selectFrom('share_types').selectAll().where('id', '=', typeId).executeTakeFirst()
    return row === undefined ? undefined : typeOf(row)
  },
  async create(type) {
    const result = await db
      .insertInto('share_types')
      .values(rowOf(type))
      .onConflict((c) => c.doNothing())
      .executeTakeFirst()
    if (result.numInsertedOrUpdatedRows === 0n) throw nameTaken(type.name)
  },
  async update(typeId, fields) {
    const set = defined({
      name: fields.name,
      description: fields.description,
      is_public: fields.isPublic === undefined ? undefined : flag(fields.isPublic),
      is_default: fields.isDefault === undefined ? undefined : flag(fields.isDefault),
      extra_specs: fields.extraSpecs === undefined ? undefined : JSON.stringify(fields.extraSpecs),
      updated_at: fields.updatedAt,
    })
    if (Object.keys(set).length === 0) return
    await db.updateTable('share_types').set(set).where('id', '=', typeId).execute()
  },
  removeUnused: (typeId) =>
    db.transaction().execute(async (trx) => {
      const used = await trx
        .selectFrom('shares')
        .select('id')
        .where('share_type_id', '=', typeId)
        .limit(1)
        .executeTakeFirst()
      if (used !== undefined) return false
      await trx.deleteFrom('share_quotas').where('scope', '=', `share_type/${typeId}`).execute()
      await trx.deleteFrom('share_types').where('id', '=', typeId).execute()
      return true
    }),
  async projectsOf(typeId) {
    const rows = await db
      .selectFrom('share_type_access')
      .select('project_id')
      .where('share_type_id', '=', typeId)
      .orderBy('project_id')
      .execute()
    return rows.map((row) => row.project_id)
  },
  async allow(typeId, projectId) {
    await db
      .insertInto('share_type_access')
      .values({ share_type_id: typeId, project_id: projectId })
      .onConflict((c) => c.columns(['share_type_id', 'project_id']).doNothing())
      .execute()
  },
  async disallow(typeId, projectId) {
    await db
      .deleteFrom('share_type_access')
      .where('share_type_id', '=', typeId)
      .where('project_id', '=', projectId)
      .execute()
  },
})

const nameTaken = (name: string): DomainError =>
  new DomainError('conflict', `Share Type ${name} already exists.`)

const typeOf = (row: Selectable<ShareTypeTable>): ShareType => ({
  id: row.id,
  name: row.name,
  description: row.description,
  isPublic: isSet(row.is_public),
  isDefault: isSet(row.is_default),
  extraSpecs: parseObject<string>(row.extra_specs),
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

const rowOf = (type: ShareType): ShareTypeTable => ({
  id: type.id,
  name: type.name,
  description: type.description,
  is_public: flag(type.isPublic),
  is_default: flag(type.isDefault),
  extra_specs: JSON.stringify(type.extraSpecs),
  created_at: type.createdAt,
  updated_at: type.updatedAt,
})
