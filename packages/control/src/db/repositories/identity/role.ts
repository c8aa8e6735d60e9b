import type { Kysely, Selectable } from 'kysely'
import type { ImpliedRole, Role } from '../../../domain/identity.ts'
import { defined } from '../../columns.ts'
import type { Database } from '../../schema.ts'
import type { RoleTable } from '../../tables/identity.ts'

const fromRow = (row: Selectable<RoleTable>): Role => ({
  id: row.id,
  name: row.name,
  description: row.description,
})

export function roleRecords(db: Kysely<Database>) {
  return {
    async find(id: string): Promise<Role | undefined> {
      const row = await db.selectFrom('roles').selectAll().where('id', '=', id).executeTakeFirst()
      return row === undefined ? undefined : fromRow(row)
    },
    async byName(name: string): Promise<Role | undefined> {
      const row = await db.selectFrom('roles').selectAll().where('name', '=', name).executeTakeFirst()
      return row === undefined ? undefined : fromRow(row)
    },
    async list(filter: { name?: string | undefined } = {}): Promise<Role[]> {
      let query = db.selectFrom('roles').selectAll().orderBy('name')
      if (filter.name !== undefined) query = query.where('name', '=', filter.name)
      return (await query.execute()).map(fromRow)
    },
    async create(role: Role, now: string): Promise<void> {
      await db
        .insertInto('roles')
        .values({ ...role, created_at: now })
        .execute()
    },
    async update(id: string, fields: Partial<Omit<Role, 'id'>>): Promise<void> {
      const set = defined({ name: fields.name, description: fields.description })
      if (Object.keys(set).length === 0) return
      await db.updateTable('roles').set(set).where('id', '=', id).execute()
    },
    async remove(id: string): Promise<void> {
      await db.deleteFrom('role_assignments').where('role_id', '=', id).execute()
      await db.deleteFrom('implied_roles').where('prior_role_id', '=', id).execute()
      await db.deleteFrom('implied_roles').where('implied_role_id', '=', id).execute()
      await db.deleteFrom('roles').where('id', '=', id).execute()
    },
    async implied(): Promise<ImpliedRole[]> {
      const rows = await db.selectFrom('implied_roles').selectAll().execute()
      return rows.map((row) => ({ priorRoleId: row.prior_role_id, impliedRoleId: row.implied_role_id }))
    },
    /** Idempotent. */
    async imply(rule: ImpliedRole): Promise<void> {
      await db
        .insertInto('implied_roles')
        .values({ prior_role_id: rule.priorRoleId, implied_role_id: rule.impliedRoleId })
        .onConflict((conflict) => conflict.columns(['prior_role_id', 'implied_role_id']).doNothing())
        .execute()
    },
    async unimply(rule: ImpliedRole): Promise<boolean> {
      const result = await db
        .deleteFrom('implied_roles')
        .where('prior_role_id', '=', rule.priorRoleId)
        .where('implied_role_id', '=', rule.impliedRoleId)
        .executeTakeFirst()
      return result.numDeletedRows > 0n
    },
  }
}
