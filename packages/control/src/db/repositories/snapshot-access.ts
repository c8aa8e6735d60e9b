import type { Kysely, Selectable } from 'kysely'
import { DomainError } from '@volant/contract'
import type { SnapshotAccessRule } from '../../domain/share.ts'
import type { Clock } from '../../ports/clock.ts'
import type { SnapshotAccessRecords } from '../../ports/shares.ts'
import type { Database } from '../schema.ts'
import type { SnapshotAccessRuleTable } from '../tables/share.ts'

const toRule = (row: Selectable<SnapshotAccessRuleTable>): SnapshotAccessRule => ({
  id: row.id,
  snapshotId: row.snapshot_id,
  accessType: row.access_type as SnapshotAccessRule['accessType'],
  accessTo: row.access_to,
  state: row.state as SnapshotAccessRule['state'],
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

export const snapshotAccessRecords = (db: Kysely<Database>, clock: Clock): SnapshotAccessRecords => ({
  async ofSnapshot(snapshotId) {
    const rows = await db
      .selectFrom('snapshot_access_rules')
      .selectAll()
      .where('snapshot_id', '=', snapshotId)
      .orderBy('created_at')
      .orderBy('id')
      .execute()
    return rows.map(toRule)
  },
  async find(ruleId) {
    const row = await db
      .selectFrom('snapshot_access_rules')
      .selectAll()
      .where('id', '=', ruleId)
      .executeTakeFirst()
    return row && toRule(row)
  },
  async create(rule) {
    const inserted = await db
      .insertInto('snapshot_access_rules')
      .values({
        id: rule.id,
        snapshot_id: rule.snapshotId,
        access_type: rule.accessType,
        access_to: rule.accessTo,
        state: rule.state,
        created_at: rule.createdAt,
        updated_at: rule.updatedAt,
      })
      .onConflict((conflict) => conflict.columns(['snapshot_id', 'access_type', 'access_to']).doNothing())
      .executeTakeFirst()
    if (inserted.numInsertedOrUpdatedRows !== 0n) return
    throw new DomainError(
      'conflict',
      `Share snapshot access ${rule.accessType}:${rule.accessTo} already exists for snapshot ${rule.snapshotId}.`,
    )
  },
  async updateIf(ruleId, states, state) {
    await db
      .updateTable('snapshot_access_rules')
      .set({ state, updated_at: clock.now().toISOString() })
      .where('id', '=', ruleId)
      .where('state', 'in', [...states])
      .execute()
  },
  async remove(ruleId) {
    await db.deleteFrom('snapshot_access_rules').where('id', '=', ruleId).execute()
  },
  async snapshots() {
    const rows = await db.selectFrom('snapshot_access_rules').select('snapshot_id').distinct().execute()
    return rows.map(({ snapshot_id }) => snapshot_id)
  },
})
