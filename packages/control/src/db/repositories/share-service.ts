import type { Kysely } from 'kysely'
import type { ShareServiceRecords } from '../../ports/share-records.ts'
import { flag, isSet } from '../columns.ts'
import type { Database } from '../schema.ts'

export const shareServiceRecords = (db: Kysely<Database>): ShareServiceRecords => ({
  async list() {
    const rows = await db.selectFrom('share_services').selectAll().orderBy('backend').execute()
    return rows.map((row) => ({
      backend: row.backend,
      disabled: isSet(row.disabled),
      disabledReason: row.disabled_reason,
      updatedAt: row.updated_at,
    }))
  },
  async put({ backend, disabled, disabledReason, updatedAt }) {
    const columns = { disabled: flag(disabled), disabled_reason: disabledReason, updated_at: updatedAt }
    await db
      .insertInto('share_services')
      .values({ backend, ...columns })
      .onConflict((c) => c.column('backend').doUpdateSet(columns))
      .execute()
  },
})
