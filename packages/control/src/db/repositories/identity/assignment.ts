import type { Kysely, Selectable } from 'kysely'
import type { Assignment } from '../../../domain/identity.ts'
import type { Database } from '../../schema.ts'
import type { AssignmentTable } from '../../tables/identity.ts'

export type AssignmentFilter = { [K in keyof Assignment]?: Assignment[K] | undefined }

const fromRow = (row: Selectable<AssignmentTable>): Assignment => ({
  roleId: row.role_id,
  actorType: row.actor_type,
  actorId: row.actor_id,
  targetType: row.target_type,
  targetId: row.target_id,
})

export function assignmentRecords(db: Kysely<Database>) {
  return {
    async list(filter: AssignmentFilter): Promise<Assignment[]> {
      let query = db.selectFrom('role_assignments').selectAll()
      if (filter.roleId !== undefined) query = query.where('role_id', '=', filter.roleId)
      if (filter.actorType !== undefined) query = query.where('actor_type', '=', filter.actorType)
      if (filter.actorId !== undefined) query = query.where('actor_id', '=', filter.actorId)
      if (filter.targetType !== undefined) query = query.where('target_type', '=', filter.targetType)
      if (filter.targetId !== undefined) query = query.where('target_id', '=', filter.targetId)
      return (await query.execute()).map(fromRow)
    },
    /** Everything the user was given, by itself or through its groups; implied roles are not among them. */
    async ofUser(userId: string): Promise<Assignment[]> {
      const rows = await db
        .selectFrom('role_assignments')
        .selectAll()
        .where((where) =>
          where.or([
            where.and([where('actor_type', '=', 'user'), where('actor_id', '=', userId)]),
            where.and([
              where('actor_type', '=', 'group'),
              where(
                'actor_id',
                'in',
                where.selectFrom('group_members').select('group_id').where('user_id', '=', userId),
              ),
            ]),
          ]),
        )
        .execute()
      return rows.map(fromRow)
    },
    /** Idempotent. */
    async grant(assignment: Assignment): Promise<void> {
      await db
        .insertInto('role_assignments')
        .values({
          role_id: assignment.roleId,
          actor_type: assignment.actorType,
          actor_id: assignment.actorId,
          target_type: assignment.targetType,
          target_id: assignment.targetId,
        })
        .onConflict((conflict) =>
          conflict.columns(['actor_id', 'target_id', 'role_id', 'actor_type', 'target_type']).doNothing(),
        )
        .execute()
    },
    /** Tells whether it was there. */
    async withdraw(assignment: Assignment): Promise<boolean> {
      const result = await db
        .deleteFrom('role_assignments')
        .where('role_id', '=', assignment.roleId)
        .where('actor_type', '=', assignment.actorType)
        .where('actor_id', '=', assignment.actorId)
        .where('target_type', '=', assignment.targetType)
        .where('target_id', '=', assignment.targetId)
        .executeTakeFirst()
      return result.numDeletedRows > 0n
    },
  }
}
