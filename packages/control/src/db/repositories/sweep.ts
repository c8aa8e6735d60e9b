import { setImmediate as turn } from 'node:timers/promises'
import { sql, type Kysely } from 'kysely'
import type { SweepRecords } from '../../ports/sweep.ts'
import type { Database } from '../schema.ts'
import { toAttachment } from './attachment.ts'
import { toCopy } from './copy.ts'

/** Ids in one statement. Between two of them others get their turn: SQLite answers on the spot. */
const idsAtOnce = 200

export function sweepRecords(db: Kysely<Database>): SweepRecords {
  return {
    async copies(imageIds) {
      const rows = await inChunks(imageIds, (ids) =>
        db.selectFrom('copies').selectAll().where('image_id', 'in', ids).execute(),
      )
      return new Map(rows.map((row) => [row.image_id, toCopy(row)]))
    },
    async targets() {
      // In the words of the index's own condition: a parameter would not do.
      const isTarget = sql<boolean>`state = 'target'`
      const rows = await db.selectFrom('copies').selectAll().where(isTarget).execute()
      return rows.map(toCopy)
    },
    async attachments(all) {
      const rows = await inChunks(all, (ids) =>
        db.selectFrom('attachments').selectAll().where('head_id', 'in', ids).execute(),
      )
      return new Map(rows.map((row) => [row.head_id, toAttachment(row)]))
    },
    async servers(all) {
      const rows = await inChunks(all, (ids) =>
        db.selectFrom('servers').select(['id', 'host', 'deleted_at']).where('id', 'in', ids).execute(),
      )
      return new Map(rows.map(({ id, host, deleted_at }) => [id, { host, deletedAt: deleted_at }]))
    },
    async shares(all) {
      const rows = await inChunks(all, (ids) =>
        db
          .selectFrom('shares')
          .leftJoin('attachments', 'attachments.share_id', 'shares.id')
          .select(['shares.id', 'attachments.host'])
          .where('shares.id', 'in', ids)
          .execute(),
      )
      const shown = await inChunks(all, (ids) =>
        db
          .selectFrom('shown_snapshots')
          .innerJoin('attachments', 'attachments.volume_id', 'shown_snapshots.volume_id')
          .select(['shown_snapshots.snapshot_id as id', 'attachments.host'])
          .where('shown_snapshots.snapshot_id', 'in', ids)
          .execute(),
      )
      return new Map([...rows, ...shown].map(({ id, host }) => [id, { node: host }]))
    },
    async volumes(all) {
      const rows = await inChunks(all, (ids) =>
        db.selectFrom('volumes').select(['id', 'image_id']).where('id', 'in', ids).execute(),
      )
      return new Map(rows.map(({ id, image_id }) => [id, { imageId: image_id }]))
    },
    async snapshots(all) {
      const rows = await inChunks(all, (ids) =>
        db.selectFrom('snapshots').select(['id', 'image_id']).where('id', 'in', ids).execute(),
      )
      return new Map(rows.map(({ id, image_id }) => [id, { imageId: image_id }]))
    },
    async operations(all) {
      const rows = await inChunks(all, (ids) =>
        db
          .selectFrom('operations')
          .select(['id', 'kind', 'state', 'ended_at'])
          .where('id', 'in', ids)
          .execute(),
      )
      return new Map(
        rows.map(({ id, kind, state, ended_at }) => [id, { kind, state, hasEnded: ended_at !== null }]),
      )
    },
    async aggregates() {
      const rows = await db.selectFrom('aggregates').select(['node', 'name', 'path']).execute()
      return new Map(rows.map(({ node, name, path }) => [`${node}/${name}`, path]))
    },
    async unfinished() {
      const rows = await db
        .selectFrom('operations')
        .select(['id', 'kind', 'keys', 'input'])
        .where('ended_at', 'is', null)
        .execute()
      return rows.map(({ keys, ...row }) => ({ ...row, keys: JSON.parse(keys) as string[] }))
    },
    async tombstones(all) {
      const rows = await inChunks(all, (ids) =>
        db
          .selectFrom('tombstones')
          .selectAll()
          .where('kind', 'in', ['copy', 'attachment', 'share'])
          .where('id', 'in', ids)
          .execute(),
      )
      return new Map(
        rows.map(({ kind, id, volume_id, server_id, state, operation_id, removed_at }) => [
          `${kind}/${id}`,
          {
            kind,
            id,
            volumeId: volume_id,
            serverId: server_id,
            state,
            operationId: operation_id,
            removedAt: removed_at,
          },
        ]),
      )
    },
    async forgetTombstones(removedBefore) {
      await db.deleteFrom('tombstones').where('removed_at', '<', removedBefore).execute()
    },
  }
}

async function inChunks<T>(
  all: readonly string[],
  read: (ids: readonly string[]) => Promise<T[]>,
): Promise<T[]> {
  const ids = [...new Set(all)]
  const rows: T[] = []
  for (let from = 0; from < ids.length; from += idsAtOnce) {
    rows.push(...(await read(ids.slice(from, from + idsAtOnce))))
    await turn()
  }
  return rows
}
