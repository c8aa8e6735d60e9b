import type { Kysely } from 'kysely'
import { DomainError } from '@volant/contract'
import type { ServerMoves } from '../../ports/server-migrations.ts'
import type { Database } from '../schema.ts'
import { together } from '../transaction.ts'
import { checkFence } from './operation-fence.ts'
import { toMigrationColumns } from './server-migration.ts'
import { toColumns } from './server-row.ts'
import { buryHead } from './tombstone.ts'

export function serverMoves(db: Kysely<Database>): ServerMoves {
  return {
    bury: (serverId, heads) =>
      together(db, async (trx) => {
        for (const { headId, volumeId } of heads) {
          const head = {
            head_id: headId,
            volume_id: volumeId,
            server_id: serverId,
            status: 'attaching' as const,
          }
          await buryHead(trx, head)
        }
      }),
    arrive: (serverId, { from, host, heads, fence }, fields = {}, migration = undefined) =>
      together(db, async (trx) => {
        if (fence !== undefined) await checkFence(trx, fence)
        const server = await trx
          .selectFrom('servers')
          .select('host')
          .where('id', '=', serverId)
          .where('deleted_at', 'is', null)
          .executeTakeFirst()
        if (server === undefined) {
          throw new DomainError('notFound', `Instance ${serverId} could not be found.`)
        }
        if (server.host !== from && server.host !== host) {
          throw new DomainError(
            'conflict',
            `Instance ${serverId} is on host ${String(server.host)}, neither on ${from} nor on ${host}.`,
          )
        }
        const updated_at = new Date().toISOString()
        await trx
          .updateTable('servers')
          .set({ updated_at, ...toColumns(fields), host })
          .where('id', '=', serverId)
          .execute()
        if (migration !== undefined) {
          const { id, ...changed } = migration
          await trx
            .updateTable('server_migrations')
            .set({ updated_at, ...toMigrationColumns(changed) })
            .where('id', '=', id)
            .execute()
        }
        const attachments = await trx
          .selectFrom('attachments')
          .selectAll()
          .where('server_id', '=', serverId)
          .execute()
        for (const attachment of attachments) {
          const head = heads[attachment.id]
          if (head === undefined) {
            throw new DomainError(
              'conflict',
              `Attachment ${attachment.id} of instance ${serverId} has no head on host ${host}.`,
            )
          }
          if (attachment.head_id === head && attachment.host === host) continue
          await buryHead(trx, attachment)
          await trx
            .updateTable('attachments')
            .set({ host, head_id: head })
            .where('id', '=', attachment.id)
            .execute()
        }
      }),
  }
}
