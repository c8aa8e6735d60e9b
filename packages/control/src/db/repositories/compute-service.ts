import type { Kysely, Selectable } from 'kysely'
import type { ComputeService, ComputeServiceRecords } from '../../ports/servers.ts'
import { defined, flag, isSet } from '../columns.ts'
import type { Database } from '../schema.ts'
import type { ComputeServiceTable } from '../tables/compute.ts'

const toService = (row: Selectable<ComputeServiceTable>): ComputeService => ({
  id: row.id,
  number: row.number,
  host: row.host,
  binary: row.binary as ComputeService['binary'],
  hypervisorId: row.hypervisor_id,
  disabled: isSet(row.disabled),
  disabledReason: row.disabled_reason,
  forcedDown: isSet(row.forced_down),
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

export function computeServiceRecords(db: Kysely<Database>): ComputeServiceRecords {
  return {
    async list() {
      const rows = await db.selectFrom('compute_services').selectAll().orderBy('number').execute()
      return rows.map(toService)
    },
    ensure: (service) =>
      db.transaction().execute(async (trx) => {
        const last = await trx
          .selectFrom('compute_services')
          .select((eb) => eb.fn.max('number').as('number'))
          .executeTakeFirst()
        await trx
          .insertInto('compute_services')
          .values({
            id: service.id,
            number: Number(last?.number ?? 0) + 1,
            host: service.host,
            binary: service.binary,
            hypervisor_id: service.hypervisorId,
            disabled: flag(service.disabled),
            disabled_reason: service.disabledReason,
            forced_down: flag(service.forcedDown),
            created_at: service.createdAt,
            updated_at: service.updatedAt,
          })
          .onConflict((conflict) => conflict.columns(['host', 'binary']).doNothing())
          .execute()
      }),
    async update(id, fields) {
      const columns = defined({
        disabled: fields.disabled === undefined ? undefined : flag(fields.disabled),
        disabled_reason: fields.disabledReason,
        forced_down: fields.forcedDown === undefined ? undefined : flag(fields.forcedDown),
        updated_at: fields.updatedAt,
      })
      if (Object.keys(columns).length === 0) return
      await db.updateTable('compute_services').set(columns).where('id', '=', id).execute()
    },
  }
}
