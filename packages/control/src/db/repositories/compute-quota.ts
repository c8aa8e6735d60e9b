import type { Kysely } from 'kysely'
import type { ComputeQuotas } from '../../domain/compute-quota.ts'
import type { ComputeQuotaRecords } from '../../ports/servers.ts'
import type { Database } from '../schema.ts'

export function computeQuotaRecords(db: Kysely<Database>): ComputeQuotaRecords {
  return {
    async of(projectId) {
      const rows = await db
        .selectFrom('compute_quotas')
        .selectAll()
        .where('project_id', '=', projectId)
        .execute()
      return Object.fromEntries(rows.map((row) => [row.resource, row.limit])) as Partial<ComputeQuotas>
    },
    async set(project_id, resource, limit) {
      await db
        .insertInto('compute_quotas')
        .values({ project_id, resource, limit })
        .onConflict((conflict) => conflict.columns(['project_id', 'resource']).doUpdateSet({ limit }))
        .execute()
    },
    async clear(projectId) {
      await db.deleteFrom('compute_quotas').where('project_id', '=', projectId).execute()
    },
  }
}
