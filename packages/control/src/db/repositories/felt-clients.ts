import type { Kysely } from 'kysely'
import type { FeltClients } from '../../ports/copy-pace.ts'
import type { Database } from '../schema.ts'

export function feltClients(db: Kysely<Database>): FeltClients {
  return {
    async at(places, except, limit) {
      if (places.length === 0) return []
      let query = db
        .selectFrom('attachments')
        .innerJoin('volumes', 'volumes.id', 'attachments.volume_id')
        .innerJoin('copies', 'copies.image_id', 'volumes.image_id')
        .select([
          'attachments.volume_id as volumeId',
          'attachments.host as host',
          'attachments.server_id as serverId',
          'attachments.share_id as shareId',
        ])
        .where('attachments.host', 'is not', null)
        .where('attachments.status', '=', 'attached')
        .where((eb) =>
          eb.or(
            places.map(({ node, aggregate }) =>
              eb.and([eb('copies.node', '=', node), eb('copies.aggregate', '=', aggregate)]),
            ),
          ),
        )
        .orderBy('attachments.id')
        .limit(limit)
      if (except !== null) query = query.where('attachments.volume_id', '!=', except)
      const rows = await query.execute()
      return rows.map((row) => ({ ...row, host: row.host ?? '' }))
    },
  }
}
