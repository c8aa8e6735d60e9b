import type { Kysely, Selectable } from 'kysely'
import type { FlexVolMove } from '../../domain/flexvol-move.ts'
import type { FlexVolMoveRecords } from '../../ports/records.ts'
import { defined } from '../columns.ts'
import type { Database } from '../schema.ts'
import type { FlexVolMoveTable } from '../tables/storage.ts'

const toMove = (row: Selectable<FlexVolMoveTable>): FlexVolMove => ({
  id: row.id,
  flexvolId: row.flexvol_id,
  from: { node: row.from_node, aggregate: row.from_aggregate },
  to: { node: row.to_node, aggregate: row.to_aggregate },
  cutoverWindowSeconds: row.cutover_window_seconds,
  cutoverAction: row.cutover_action as FlexVolMove['cutoverAction'],
  cutover: row.cutover as FlexVolMove['cutover'],
  state: row.state as FlexVolMove['state'],
  startedAt: row.started_at,
  endedAt: row.ended_at,
})

export function flexVolMoveRecords(db: Kysely<Database>): FlexVolMoveRecords {
  const newestFirst = () =>
    db.selectFrom('flexvol_moves').selectAll().orderBy('started_at', 'desc').orderBy('id', 'desc')
  return {
    async find(moveId) {
      const row = await db.selectFrom('flexvol_moves').selectAll().where('id', '=', moveId).executeTakeFirst()
      return row && toMove(row)
    },
    async latestOf(flexvolId) {
      const row = await newestFirst().where('flexvol_id', '=', flexvolId).limit(1).executeTakeFirst()
      return row && toMove(row)
    },
    async latest() {
      const rows = await newestFirst()
        .where((eb) =>
          eb(
            'started_at',
            '=',
            eb
              .selectFrom('flexvol_moves as other')
              .select((inner) => inner.fn.max('other.started_at').as('newest'))
              .whereRef('other.flexvol_id', '=', 'flexvol_moves.flexvol_id'),
          ),
        )
        .execute()
      const latest = new Map<string, FlexVolMove>()
      for (const row of rows) if (!latest.has(row.flexvol_id)) latest.set(row.flexvol_id, toMove(row))
      return latest
    },
    async list({ flexvolId, limit }) {
      const all = newestFirst().limit(limit)
      const rows = await (flexvolId === undefined ? all : all.where('flexvol_id', '=', flexvolId)).execute()
      return rows.map(toMove)
    },
    async create(move) {
      await db
        .insertInto('flexvol_moves')
        .values({
          id: move.id,
          flexvol_id: move.flexvolId,
          from_node: move.from.node,
          from_aggregate: move.from.aggregate,
          to_node: move.to.node,
          to_aggregate: move.to.aggregate,
          cutover_window_seconds: move.cutoverWindowSeconds,
          cutover_action: move.cutoverAction,
          cutover: move.cutover,
          state: move.state,
          started_at: move.startedAt,
          ended_at: move.endedAt,
        })
        .onConflict((conflict) => conflict.column('id').doNothing())
        .execute()
    },
    async update(moveId, fields) {
      const set = defined({
        cutover_window_seconds: fields.cutoverWindowSeconds,
        cutover_action: fields.cutoverAction,
        cutover: fields.cutover,
        state: fields.state,
        ended_at: fields.endedAt,
      })
      if (Object.keys(set).length === 0) return
      await db.updateTable('flexvol_moves').set(set).where('id', '=', moveId).execute()
    },
  }
}
