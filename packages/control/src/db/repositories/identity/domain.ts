import type { Kysely, Selectable } from 'kysely'
import type { Domain } from '../../../domain/identity.ts'
import { defined, flag, isSet } from '../../columns.ts'
import type { Database } from '../../schema.ts'
import type { DomainTable } from '../../tables/identity.ts'

export interface DomainFilter {
  name?: string | undefined
  enabled?: boolean | undefined
}

const fromRow = (row: Selectable<DomainTable>): Domain => ({
  id: row.id,
  name: row.name,
  description: row.description,
  enabled: isSet(row.enabled),
})

export function domainRecords(db: Kysely<Database>) {
  return {
    async find(id: string): Promise<Domain | undefined> {
      const row = await db.selectFrom('domains').selectAll().where('id', '=', id).executeTakeFirst()
      return row === undefined ? undefined : fromRow(row)
    },
    async byName(name: string): Promise<Domain | undefined> {
      const row = await db.selectFrom('domains').selectAll().where('name', '=', name).executeTakeFirst()
      return row === undefined ? undefined : fromRow(row)
    },
    async list(filter: DomainFilter = {}): Promise<Domain[]> {
      let query = db.selectFrom('domains').selectAll().orderBy('name')
      if (filter.name !== undefined) query = query.where('name', '=', filter.name)
      if (filter.enabled !== undefined) query = query.where('enabled', '=', flag(filter.enabled))
      return (await query.execute()).map(fromRow)
    },
    async create(domain: Domain, now: string): Promise<void> {
      await db
        .insertInto('domains')
        .values({ ...domain, enabled: flag(domain.enabled), created_at: now })
        .execute()
    },
    async update(id: string, fields: Partial<Omit<Domain, 'id'>>): Promise<void> {
      const set = defined({
        name: fields.name,
        description: fields.description,
        enabled: fields.enabled === undefined ? undefined : flag(fields.enabled),
      })
      if (Object.keys(set).length === 0) return
      await db.updateTable('domains').set(set).where('id', '=', id).execute()
    },
    async remove(id: string): Promise<void> {
      await db.deleteFrom('role_assignments').where('target_id', '=', id).execute()
      await db.deleteFrom('domains').where('id', '=', id).execute()
    },
  }
}
