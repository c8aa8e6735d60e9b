import type { Kysely, Selectable } from 'kysely'
import { DomainError } from '@volant/contract'
import type { Flavor } from '../../domain/flavor.ts'
import type { FlavorRecords } from '../../ports/servers.ts'
import { flag, isSet, parseObject } from '../columns.ts'
import type { Database } from '../schema.ts'
import type { FlavorTable } from '../tables/compute.ts'

const toFlavor = (row: Selectable<FlavorTable>): Flavor => ({
  id: row.id,
  name: row.name,
  description: row.description,
  vcpus: row.vcpus,
  memoryMib: row.memory_mib,
  diskGib: row.disk_gib,
  ephemeralGib: row.ephemeral_gib,
  swapMib: row.swap_mib,
  rxtxFactor: row.rxtx_factor,
  isPublic: isSet(row.is_public),
  disabled: isSet(row.disabled),
  extraSpecs: parseObject<string>(row.extra_specs),
  createdAt: row.created_at,
})

const toRow = (flavor: Flavor): FlavorTable => ({
  id: flavor.id,
  name: flavor.name,
  description: flavor.description,
  vcpus: flavor.vcpus,
  memory_mib: flavor.memoryMib,
  disk_gib: flavor.diskGib,
  ephemeral_gib: flavor.ephemeralGib,
  swap_mib: flavor.swapMib,
  rxtx_factor: flavor.rxtxFactor,
  is_public: flag(flavor.isPublic),
  disabled: flag(flavor.disabled),
  extra_specs: JSON.stringify(flavor.extraSpecs),
  created_at: flavor.createdAt,
})

/** `2` before `10`, and numbers before names. */
const byId = (a: Flavor, b: Flavor): number => a.id.localeCompare(b.id, 'en', { numeric: true })

export function flavorRecords(db: Kysely<Database>): FlavorRecords {
  return {
    async find(id) {
      const row = await db.selectFrom('flavors').selectAll().where('id', '=', id).executeTakeFirst()
      return row && toFlavor(row)
    },
    async list({ projectId }) {
      let query = db.selectFrom('flavors').selectAll()
      if (projectId !== undefined) {
        query = query.where((eb) =>
          eb.or([
            eb('is_public', '=', 1),
            eb(
              'id',
              'in',
              eb
                .selectFrom('flavor_access')
                .select('flavor_id')
                .where('project_id', '=', projectId ?? ''),
            ),
          ]),
        )
      }
      return (await query.execute()).map(toFlavor).sort(byId)
    },
    create: (flavor) => create(db, flavor),
    async update(id, fields) {
      const columns = {
        ...(fields.description === undefined ? {} : { description: fields.description }),
        ...(fields.extraSpecs === undefined ? {} : { extra_specs: JSON.stringify(fields.extraSpecs) }),
      }
      if (Object.keys(columns).length === 0) return
      await db.updateTable('flavors').set(columns).where('id', '=', id).execute()
    },
    async remove(id) {
      await db.transaction().execute(async (trx) => {
        await trx.deleteFrom('flavor_access').where('flavor_id', '=', id).execute()
        await trx.deleteFrom('flavors').where('id', '=', id).execute()
      })
    },
    async projectsOf(id) {
      const rows = await db
        .selectFrom('flavor_access')
        .select('project_id')
        .where('flavor_id', '=', id)
        .orderBy('project_id')
        .execute()
      return rows.map((row) => row.project_id)
    },
    async addAccess(flavor_id, project_id) {
      const result = await db
        .insertInto('flavor_access')
        .values({ flavor_id, project_id })
        .onConflict((conflict) => conflict.columns(['flavor_id', 'project_id']).doNothing())
        .executeTakeFirst()
      return (result.numInsertedOrUpdatedRows ?? 0n) > 0n
    },
    async removeAccess(flavorId, projectId) {
      const result = await db
        .deleteFrom('flavor_access')
        .where('flavor_id', '=', flavorId)
        .where('project_id', '=', projectId)
        .executeTakeFirst()
      return result.numDeletedRows > 0n
    },
  }
}

function create(db: Kysely<Database>, flavor: Flavor): Promise<void> {
  return db.transaction().execute(async (trx) => {
    const taken = await trx
      .selectFrom('flavors')
      .select(['id', 'name'])
      .where((eb) => eb.or([eb('id', '=', flavor.id), eb('name', '=', flavor.name)]))
      .execute()
    if (taken.some((other) => other.id === flavor.id)) {
      throw new DomainError('conflict', `Flavor with ID ${flavor.id} already exists.`)
    }
    if (taken.length > 0) {
      throw new DomainError('conflict', `Flavor with name ${flavor.name} already exists.`)
    }
    await trx.insertInto('flavors').values(toRow(flavor)).execute()
  })
}
