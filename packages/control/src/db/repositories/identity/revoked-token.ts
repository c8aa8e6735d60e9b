import type { Kysely } from 'kysely'
import type { Database } from '../../schema.ts'

export function revokedTokenRecords(db: Kysely<Database>) {
  return {
    async has(auditId: string): Promise<boolean> {
      const row = await db
        .selectFrom('revoked_tokens')
        .select('audit_id')
        .where('audit_id', '=', auditId)
        .executeTakeFirst()
      return row !== undefined
    },
    /** Idempotent. Rows of tokens that have expired by `now` go at the same time. */
    async add(auditId: string, expiresAt: string, now: string): Promise<void> {
      await db.deleteFrom('revoked_tokens').where('expires_at', '<', now).execute()
      await db
        .insertInto('revoked_tokens')
        .values({ audit_id: auditId, expires_at: expiresAt })
        .onConflict((conflict) => conflict.column('audit_id').doNothing())
        .execute()
    },
  }
}
