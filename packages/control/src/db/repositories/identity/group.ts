import type { Kysely, Selectable } from 'kysely'
import type { Group } from '../../../domain/identity.ts'
import { defined } from '../../columns.ts'
import type { Database } from '../../schema.ts'
import type { GroupTable } from '../../tables/identity.ts'

export interface GroupFilter {
  name?: string | undefined
  domainId?: string | undefined
}

const fromRow = (row: Selectable<GroupTable>): Group => ({
  id: row.id,
  domainId: row.domain_id,
  name: row.name,
  description: row.description,
})

export function groupRecords(db: Kysely<Database>) {
  return {
    async find(id: string): Promise<Group | undefined> {
      const row = await db.selectFrom('user_groups').selectAll().where('id', '=', id).executeTakeFirst()
      return row === undefined ? undefined : fromRow(row)
    },
    async list(filter: GroupFilter = {}): Promise<Group[]> {
      let query = db.selectFrom('user_groups').selectAll().orderBy('name').orderBy('id')
      if (filter.name !== undefined) query = query.where('name', '=', filter.name)
      if (filter.domainId !== undefined) query = query.where('domain_id', '=', filter.domainId)
      return (await query.execute()).map(fromRow)
    },
    async ofUser(userId: string): Promise<Group[]> {
      const rows = await db
        .selectFrom('user_groups')
        .innerJoin('group_members', 'group_members.group_id', 'user_groups.id')
        .selectAll('user_groups')
        .where('group_members.user_id', '=', userId)
        .orderBy('user_groups.name')
        .execute()
      return rows.map(fromRow)
    },
    async create(group: Group, now: string): Promise<void> {
      await db
        .insertInto('user_groups')
        .values({
          id: group.id,
          domain_id: group.domainId,
          name: group.name,
          description: group.description,
          created_at: now,
        })
        .execute()
    },
    async update(id: string, fields: Partial<Pick<Group, 'name' | 'description'>>): Promise<void> {
      const set = defined({ name: fields.name, description: fields.description })
      if (Object.keys(set).length === 0) return
      await db.updateTable('user_groups').set(set).where('id', '=', id).execute()
    },
    async remove(id: string): Promise<void> {
      await db.deleteFrom('role_assignments').where('actor_id', '=', id).execute()
      await db.deleteFrom('group_members').where('group_id', '=', id).execute()
      await db.deleteFrom('user_groups').where('id', '=', id).execute()
    },
    async memberIds(id: string): Promise<string[]> {
      const rows = await db.selectFrom('group_members').select('user_id').where('group_id', '=', id).execute()
      return rows.map((row) => row.user_id)
    },
    /** Idempotent. */
    async addMember(id: string, userId: string): Promise<void> {
      await db
        .insertInto('group_members')
        .values({ group_id: id, user_id: userId })
        .onConflict((conflict) => conflict.columns(['user_id', 'group_id']).doNothing())
        .execute()
    },
    async removeMember(id: string, userId: string): Promise<boolean> {
      const result = await db
        .deleteFrom('group_members')
        .where('group_id', '=', id)
        .where('user_id', '=', userId)
        .executeTakeFirst()
      return result.numDeletedRows > 0n
    },
  }
}
