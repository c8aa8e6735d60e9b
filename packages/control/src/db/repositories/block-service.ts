import type { Kysely, Selectable } from 'kysely'
import type { BlockService } from '../../domain/block-service.ts'
import type { BlockServiceRecords } from '../../ports/block-storage.ts'
import type { Database } from '../schema.ts'
import type { BlockServiceTable } from '../tables/block-storage.ts'

export const blockServiceRecords = (db: Kysely<Database>): BlockServiceRecords => ({
  async list() {
    const rows = await db
      .selectFrom('block_services')
      .selectAll()
      .orderBy('binary', 'desc')
      .orderBy('host')
      .execute()
    return rows.map(serviceOf)
  },
  async ensure(service) {
    await db
      .insertInto('block_services')
      .values({
        id: service.id,
        binary: service.binary,
        host: service.host,
        disabled: service.disabled ? 1 : 0,
        disabled_reason: service.disabledReason,
        frozen: service.frozen ? 1 : 0,
        updated_at: service.updatedAt,
      })
      .onConflict((c) => c.columns(['binary', 'host']).doNothing())
      .execute()
  },
  async update(id, { disabled, disabledReason, frozen, updatedAt }) {
    const set = {
      ...(disabled !== undefined && { disabled: disabled ? 1 : 0 }),
      ...(disabledReason !== undefined && { disabled_reason: disabledReason }),
      ...(frozen !== undefined && { frozen: frozen ? 1 : 0 }),
      ...(updatedAt !== undefined && { updated_at: updatedAt }),
    }
    await db.updateTable('block_services').set(set).where('id', '=', id).execute()
  },
})

const serviceOf = (row: Selectable<BlockServiceTable>): BlockService => ({
  id: row.id,
  binary: row.binary as BlockService['binary'],
  host: row.host,
  disabled: row.disabled !== 0,
  disabledReason: row.disabled_reason,
  frozen: row.frozen !== 0,
  updatedAt: row.updated_at,
})
