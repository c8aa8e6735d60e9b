import type { Kysely, Selectable, Updateable } from 'kysely'
import { DomainError } from '@volant/contract'
import type { AccessLevel } from '@volant/contract'
import type { ShareAccessRule } from '../../domain/share.ts'
import type { Clock } from '../../ports/clock.ts'
import type { ShareAccessRecords } from '../../ports/shares.ts'
import { defined, parseObject } from '../columns.ts'
import type { Database } from '../schema.ts'
import type { ShareAccessRuleTable } from '../tables/share.ts'

const toAccessRule = (row: Selectable<ShareAccessRuleTable>): ShareAccessRule => ({
  id: row.id,
  shareId: row.share_id,
  accessType: row.access_type as ShareAccessRule['accessType'],
  accessTo: row.access_to,
  accessLevel: row.access_level as AccessLevel,
  state: row.state as ShareAccessRule['state'],
  metadata: parseObject<string>(row.metadata),
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

const toColumns = (rule: Partial<ShareAccessRule>): Updateable<ShareAccessRuleTable> =>
  defined({
    id: rule.id,
    share_id: rule.shareId,
    access_type: rule.accessType,
    access_to: rule.accessTo,
    access_level: rule.accessLevel,
    state: rule.state,
    metadata: rule.metadata === undefined ? undefined : JSON.stringify(rule.metadata),
    created_at: rule.createdAt,
    updated_at: rule.updatedAt,
  })

export function shareAccessRecords(db: Kysely<Database>, clock: Clock): ShareAccessRecords {
  const now = (): string => clock.now().toISOString()
  return {
    async ofShare(shareId) {
      const rows = await db
        .selectFrom('share_access_rules')
        .selectAll()
        .where('share_id', '=', shareId)
        .orderBy('created_at')
        .orderBy('id')
        .execute()
      return rows.map(toAccessRule)
    },
    async find(ruleId) {
      const row = await db
        .selectFrom('share_access_rules')
        .selectAll()
        .where('id', '=', ruleId)
        .executeTakeFirst()
      return row && toAccessRule(row)
    },
    async create(rule) {
      const inserted = await db
        .insertInto('share_access_rules')
        .values(toColumns(rule) as ShareAccessRuleTable)
        .onConflict((conflict) => conflict.columns(['share_id', 'access_type', 'access_to']).doNothing())
        .executeTakeFirst()
      if (inserted.numInsertedOrUpdatedRows !== 0n) return
      throw new DomainError(
        'conflict',
        `Share access ${rule.accessType}:${rule.accessTo} already exists for share ${rule.shareId}.`,
      )
    },
    async update(ruleId, fields) {
      const set = toColumns({ updatedAt: now(), ...fields })
      await db.updateTable('share_access_rules').set(set).where('id', '=', ruleId).execute()
    },
    async updateIf(ruleId, { state, accessLevel }, fields) {
      let query = db
        .updateTable('share_access_rules')
        .set(toColumns({ updatedAt: now(), ...fields }))
        .where('id', '=', ruleId)
        .where('state', 'in', [...state])
      if (accessLevel !== undefined) query = query.where('access_level', '=', accessLevel)
      return (await query.executeTakeFirst()).numUpdatedRows > 0n
    },
    async remove(ruleId) {
      await db.deleteFrom('share_access_rules').where('id', '=', ruleId).execute()
    },
    async removeIf(ruleId, { state, accessLevel }) {
      let query = db
        .deleteFrom('share_access_rules')
        .where('id', '=', ruleId)
        .where('state', 'in', [...state])
      if (accessLevel !== undefined) query = query.where('access_level', '=', accessLevel)
      return (await query.executeTakeFirst()).numDeletedRows > 0n
    },
  }
}
