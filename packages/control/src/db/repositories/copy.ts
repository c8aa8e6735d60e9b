import { sql, type Kysely, type Selectable, type Transaction, type Updateable } from 'kysely'
import { DomainError } from '@volant/contract'
import type { Copy } from '../../domain/volume.ts'
import type { CopyRecords } from '../../ports/records.ts'
import { defined } from '../columns.ts'
import type { Database } from '../schema.ts'
import type { CopyTable } from '../tables/storage.ts'
import { aggregateContents } from './aggregate-contents.ts'
import { preparedChange } from '../prepared.ts'
import { together } from '../transaction.ts'
import { checkFence, rehearseFence } from './operation-fence.ts'
import { removeCopy } from './tombstone.ts'

/** Before every time at which something can be undone. */
const longAgo = '1970-01-01T00:00:00.000Z'

export const toCopy = (row: Selectable<CopyTable>): Copy => ({
  imageId: row.image_id,
  volumeId: row.volume_id,
  snapshotId: row.snapshot_id,
  flexvolId: row.flexvol_id,
  node: row.node,
  aggregate: row.aggregate,
  sizeBytes: Number(row.size_bytes),
  state: row.state,
  operationId: row.operation_id,
  reservedBytes: Number(row.reserved_bytes),
  retainedUntil: row.retained_until,
  createdAt: row.created_at,
})

const toColumns = (copy: Partial<Copy>): Updateable<CopyTable> =>
  defined({
    image_id: copy.imageId,
    volume_id: copy.volumeId,
    snapshot_id: copy.snapshotId,
    flexvol_id: copy.flexvolId,
    node: copy.node,
    aggregate: copy.aggregate,
    size_bytes: copy.sizeBytes,
    state: copy.state,
    operation_id: copy.operationId,
    reserved_bytes: copy.reservedBytes,
    retained_until: copy.retainedUntil,
    created_at: copy.createdAt,
  })

export function copyRecords(db: Kysely<Database>): CopyRecords {
  const find = async (imageId: string): Promise<Copy | undefined> => {
    const row = await db.selectFrom('copies').selectAll().where('image_id', '=', imageId).executeTakeFirst()
    return row && toCopy(row)
  }
  return {
    find,
    async get(imageId) {
      const copy = await find(imageId)
      if (copy === undefined)
        throw new DomainError('notFound', `Image ${imageId} of a volume could not be found.`)
      return copy
    },
    async ofVolume(volumeId) {
      const rows = await db
        .selectFrom('copies')
        .selectAll()
        .where('volume_id', '=', volumeId)
        .where('snapshot_id', 'is', null)
        .orderBy('created_at')
        .execute()
      return rows.map(toCopy)
    },
    async ofSnapshot(snapshotId) {
      const rows = await db
        .selectFrom('copies')
        .selectAll()
        .where('snapshot_id', '=', snapshotId)
        .orderBy('created_at')
        .execute()
      return rows.map(toCopy)
    },
    async ofFlexVol(flexvolId) {
      const rows = await db
        .selectFrom('copies')
        .selectAll()
        .where('flexvol_id', '=', flexvolId)
        .orderBy('created_at')
        .orderBy('image_id')
        .execute()
      return rows.map(toCopy)
    },
    async ofOperation(operationId) {
      const rows = await db.selectFrom('copies').selectAll().where('operation_id', '=', operationId).execute()
      return rows.map(toCopy)
    },
    create: (copy) => create(db, copy),
    async update(imageId, fields) {
      await db.updateTable('copies').set(toColumns(fields)).where('image_id', '=', imageId).execute()
    },
    async remove(imageId) {
      await removeCopy(db, imageId)
    },
    changeTruth: (change) => changeTruth(db, change),
    rehearseTruth: () => rehearseTruth(db),
    changeSnapshotTruth: (change) => changeSnapshotTruth(db, change),
    async retiredBefore(time) {
      const rows = await db
        .selectFrom('copies')
        .selectAll()
        // In the words of the index's own condition: a parameter would not do.
        .where(sql<boolean>`state = 'retained'`)
        .where('retained_until', '<=', time)
        .execute()
      return rows.map(toCopy)
    },
    async giveUp(imageId, time) {
      const row = await db
        .updateTable('copies')
        .set({ retained_until: longAgo })
        .where('image_id', '=', imageId)
        .where('state', '=', 'retained')
        .where('retained_until', '<=', time)
        .executeTakeFirst()
      return row.numUpdatedRows > 0n
    },
    async takeBack(imageId, operationId, time) {
      const row = await db
        .updateTable('copies')
        .set({ state: 'target', operation_id: operationId })
        .where('image_id', '=', imageId)
        .where((eb) =>
          eb.or([
            eb.and([eb('state', '=', 'retained'), eb('retained_until', '>', time)]),
            eb.and([eb('state', '=', 'target'), eb('operation_id', '=', operationId)]),
          ]),
        )
        .executeTakeFirst()
      return row.numUpdatedRows > 0n
    },
    async keepAgain(imageId, operationId) {
      await db
        .updateTable('copies')
        .set({ state: 'retained' })
        .where('image_id', '=', imageId)
        .where('state', '=', 'target')
        .where('operation_id', '=', operationId)
        .execute()
    },
    async reservedBytes(flexvolId) {
      const row = await db
        .selectFrom('copy_sums')
        .select((eb) => eb.fn.sum<number>('reserved_bytes').as('bytes'))
        .where('flexvol_id', '=', flexvolId)
        .executeTakeFirst()
      return Number(row?.bytes ?? 0)
    },
    reservedAt: aggregateContents(db).reservedAt,
  }
}

/** Its place was looked up before: a move of the FlexVol may have begun or ended since. */
const create = (db: Kysely<Database>, copy: Copy): Promise<void> =>
  together(db, async (trx) => {
    const inserted = await trx
      .insertInto('copies')
      .values(toColumns(copy) as CopyTable)
      .onConflict((conflict) => conflict.column('image_id').doNothing())
      .executeTakeFirst()
    if (inserted.numInsertedOrUpdatedRows === 0n || (await belongs(trx, copy))) return
    throw new DomainError('unavailable', `FlexVol ${copy.flexvolId} has just moved: look up its place anew.`)
  })

/** A FlexVol's images are where it is, where it moves to, or beside one that is there already. */
async function belongs(db: Kysely<Database>, copy: Copy): Promise<boolean> {
  const { flexvolId, node, aggregate } = copy
  const home = await db
    .selectFrom('flexvols')
    .select('id')
    .where('id', '=', flexvolId)
    .where((eb) =>
      eb.or([
        eb.and([eb('node', '=', node), eb('aggregate', '=', aggregate)]),
        eb.and([eb('destination_node', '=', node), eb('destination_aggregate', '=', aggregate)]),
      ]),
    )
    .executeTakeFirst()
  if (home !== undefined) return true
  const neighbour = await db
    .selectFrom('copies')
    .select('image_id')
    .where('flexvol_id', '=', flexvolId)
    .where('node', '=', node)
    .where('aggregate', '=', aggregate)
    .where('state', 'in', ['live', 'target'])
    .where('image_id', '!=', copy.imageId)
    .limit(1)
    .executeTakeFirst()
  return neighbour !== undefined
}

type TruthChange = Parameters<CopyRecords['changeTruth']>[0]

// Built once: a client waits for the change of the truth, and to build its statements takes longer than to carry them out.
const pointVolume = preparedChange<{
  volumeId: string
  fromImageId: string
  toImageId: string
  now: string
}>((db, given) =>
  db
    .updateTable('volumes')
    .set((eb) => ({
      image_id: given('toImageId'),
      flexvol_id: eb.selectFrom('copies').select('flexvol_id').where('image_id', '=', given('toImageId')),
      updated_at: given('now'),
    }))
    .where('id', '=', given('volumeId'))
    .where('image_id', '=', given('fromImageId'))
    .where((eb) =>
      eb.exists(eb.selectFrom('copies').select('image_id').where('image_id', '=', given('toImageId'))),
    ),
)

/** The target is live, and the former truth retained. */
const exchangeRoles = preparedChange<{
  fromImageId: string
  toImageId: string
  operationId: string
  retainedUntil: string
}>((db, given) =>
  db
    .updateTable('copies')
    .set((eb) => {
      const isTarget = eb('image_id', '=', given('toImageId'))
      return {
        state: eb
          .case()
          .when(isTarget)
          .then(eb.val<Copy['state']>('live'))
          .else(eb.val<Copy['state']>('retained'))
          .end(),
        reserved_bytes: 0,
        retained_until: eb.case().when(isTarget).then(null).else(given('retainedUntil')).end(),
        operation_id: given('operationId'),
      }
    })
    .where('image_id', 'in', [given('toImageId'), given('fromImageId')]),
)

/** In as few statements as can be: the client's I/O is held meanwhile. */
const changeTruth = (db: Kysely<Database>, change: TruthChange): Promise<void> =>
  db.transaction().execute(async (trx) => {
    const { fence, volumeId, fromImageId, toImageId, operationId, retainedUntil } = change
    await checkFence(trx, fence)
    const now = new Date().toISOString()
    const moved = await pointVolume(trx, { volumeId, fromImageId, toImageId, now })
    if (!moved.numAffectedRows) return refuseChange(trx, change)
    await exchangeRoles(trx, { fromImageId, toImageId, operationId, retainedUntil })
  })

const rehearseTruth = (db: Kysely<Database>): Promise<void> =>
  db.transaction().execute(async (trx) => {
    await rehearseFence(trx)
    await pointVolume(trx, { volumeId: '', fromImageId: '', toImageId: '', now: '' })
    await exchangeRoles(trx, { fromImageId: '', toImageId: '', operationId: '', retainedUntil: '' })
  })

async function changeSnapshotTruth(
  db: Kysely<Database>,
  change: Parameters<CopyRecords['changeSnapshotTruth']>[0],
): Promise<void> {
  const { snapshotId, fromImageId, toImageId } = change
  await db.transaction().execute(async (trx) => {
    await checkFence(trx, change.fence)
    const moved = await trx
      .updateTable('snapshots')
      .set((eb) => ({
        image_id: toImageId,
        flexvol_id: eb
          .selectFrom('copies')
          .select('flexvol_id')
          .where('image_id', '=', toImageId)
          .$asScalar()
          .$notNull(),
      }))
      .where('id', '=', snapshotId)
      .where('image_id', '=', fromImageId)
      .where((eb) => eb.exists(eb.selectFrom('copies').select('image_id').where('image_id', '=', toImageId)))
      .executeTakeFirst()
    if (moved.numUpdatedRows > 0n) {
      const { operationId, retainedUntil } = change
      await exchangeRoles(trx, { fromImageId, toImageId, operationId, retainedUntil })
      return
    }
    const snapshot = await trx
      .selectFrom('snapshots')
      .select('image_id')
      .where('id', '=', snapshotId)
      .executeTakeFirst()
    if (snapshot?.image_id === toImageId) return
    throw new DomainError(
      'conflict',
      `The image of snapshot ${snapshotId} is ${String(snapshot?.image_id)}, not ${fromImageId}.`,
    )
  })
}

/** Nothing was changed: either it had been before, or the request is wrong. */
async function refuseChange(
  trx: Transaction<Database>,
  change: Parameters<CopyRecords['changeTruth']>[0],
): Promise<void> {
  const volume = await trx
    .selectFrom('volumes')
    .select('image_id')
    .where('id', '=', change.volumeId)
    .executeTakeFirst()
  if (volume?.image_id === change.toImageId) return
  throw new DomainError(
    'conflict',
    volume?.image_id === change.fromImageId
      ? `There is no image ${change.toImageId} that could become the truth of volume ${change.volumeId}.`
      : `The truth of volume ${change.volumeId} is ${String(volume?.image_id)}, not ${change.fromImageId}.`,
  )
}
