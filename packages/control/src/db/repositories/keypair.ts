import type { Kysely, Selectable } from 'kysely'
import type { Keypair, KeypairRecords } from '../../ports/servers.ts'
import type { Database } from '../schema.ts'
import type { KeypairTable } from '../tables/compute.ts'

const toKeypair = (row: Selectable<KeypairTable>): Keypair => ({
  userId: row.user_id,
  name: row.name,
  number: row.number,
  type: row.type as Keypair['type'],
  publicKey: row.public_key,
  fingerprint: row.fingerprint,
  createdAt: row.created_at,
})

export function keypairRecords(db: Kysely<Database>): KeypairRecords {
  return {
    async find(userId, name) {
      const row = await db
        .selectFrom('keypairs')
        .selectAll()
        .where('user_id', '=', userId)
        .where('name', '=', name)
        .executeTakeFirst()
      return row && toKeypair(row)
    },
    async list(userId) {
      const rows = await db
        .selectFrom('keypairs')
        .selectAll()
        .where('user_id', '=', userId)
        .orderBy('name')
        .execute()
      return rows.map(toKeypair)
    },
    create: (keypair) =>
      db.transaction().execute(async (trx) => {
        const last = await trx
          .selectFrom('keypairs')
          .select((eb) => eb.fn.max('number').as('number'))
          .executeTakeFirst()
        const result = await trx
          .insertInto('keypairs')
          .values({
            user_id: keypair.userId,
            name: keypair.name,
            number: Number(last?.number ?? 0) + 1,
            type: keypair.type,
            public_key: keypair.publicKey,
            fingerprint: keypair.fingerprint,
            created_at: keypair.createdAt,
          })
          .onConflict((conflict) => conflict.columns(['user_id', 'name']).doNothing())
          .executeTakeFirst()
        return (result.numInsertedOrUpdatedRows ?? 0n) > 0n
      }),
    async remove(userId, name) {
      const result = await db
        .deleteFrom('keypairs')
        .where('user_id', '=', userId)
        .where('name', '=', name)
        .executeTakeFirst()
      return result.numDeletedRows > 0n
    },
  }
}
