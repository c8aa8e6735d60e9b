import type { Kysely, Selectable, Transaction } from 'kysely'
import { DomainError } from '@volant/contract'
import {
  endedStates,
  held,
  missing,
  refused,
  staleWriter,
  type CreateRunParams,
  type Holder,
  type LogEntry,
  type RecordParams,
  type RecordResult,
  type RunRecord,
  type SagaStore,
  type SetControlsParams,
  type Writer,
} from '@volant/saga'
import { flag } from '../columns.ts'
import { groupCommit } from '../group-commit.ts'
import { givenValues, preparedChange } from '../prepared.ts'
import type { Database } from '../schema.ts'
import type { OperationFenceTable, OperationTable } from '../tables/operation.ts'
import {
  entryColumns,
  entryRow,
  json,
  newRow,
  runColumns,
  toControl,
  toEntry,
  toRun,
  viewColumns,
} from './operation-row.ts'

type Db = Kysely<Database>
type Trx = Transaction<Database>
type Changes = { [Column in keyof OperationTable]?: OperationTable[Column] }

// What each step of an operation writes is built once: to build it takes as long as to carry it out, and the whole
// process waits for both.
const newestFence = preparedChange<Record<never, never>>((db) =>
  db.selectFrom('operation_fence').selectAll().where('fence', '>', 0),
)

const insertRun = preparedChange<ReturnType<typeof newRow>>((db, given) =>
  db
    .insertInto('operations')
    .values(givenValues(runColumns, given))
    .onConflict((conflict) => conflict.column('id').doNothing())
    .returning('id'),
)

const insertEntry = preparedChange<ReturnType<typeof entryRow>>((db, given) =>
  db
    .insertInto('operation_log')
    .values(givenValues(entryColumns, given))
    // The writer owns the run, so an entry that is there is this one, written by a call whose answer was lost.
    .onConflict((conflict) => conflict.columns(['operation_id', 'seq']).doNothing()),
)

/** By the columns that they change. */
const ownedUpdates = new Map<string, ReturnType<typeof ownedUpdate>>()

const ownedUpdate = (columns: readonly (keyof OperationTable)[], unlessCancelled: boolean) =>
  preparedChange<Changes & { ofRun: string; byOwner: string; atFence: number }>((db, given) => {
    let update = db
      .updateTable('operations')
      .set(givenValues(columns, given))
      .where('id', '=', given('ofRun'))
      .where('owner', '=', given('byOwner'))
      .where('fence', '=', given('atFence'))
      .where('operations.fence', '=', (eb) =>
        eb.selectFrom('operation_fence').select('operation_fence.fence'),
      )
    if (unlessCancelled) update = update.where('cancel_requested', '=', 0)
    return update.returningAll()
  })

/**
 * The runs of the saga engine, in SQL that both databases speak. A row is first updated under the condition that
 * the writer still owns it: on PostgreSQL that takes the row's lock, so that a claim and a write of the one who is
 * being replaced come one after the other.
 */
export function operationStore(db: Db): SagaStore {
  const inTransaction = <T>(work: (trx: Trx) => Promise<T>): Promise<T> => db.transaction().execute(work)
  const together = groupCommit(db)
  return {
    acquireFence: (params) => inTransaction((trx) => acquireFence(trx, params)),
    async heartbeat({ owner, fence, at }) {
      const row = await db
        .updateTable('operation_fence')
        .set({ alive_at: at })
        .where('fence', '=', fence)
        .where('owner', '=', owner)
        .returning('fence')
        .executeTakeFirst()
      if (!row) throw staleWriter({ owner, fence }, await newest(db))
    },
    currentFence: () => newest(db),
    createRun: (params) => together((trx) => createRunWithin(trx, params)),
    claim: (params) => inTransaction((trx) => claim(trx, params)),
    record: (params) => together((trx) => record(trx, params)),
    setProgress: (params) =>
      together(async (trx) => {
        const changes = { progress: json(params.value), updated_at: params.at }
        if (!(await updateOwned(trx, params, changes))) throw await refusal(trx, params)
      }),
    setControls: (params) => inTransaction((trx) => setControls(trx, params)),
    get: (runId) => find(db, runId),
    history: ({ runId, after = 0, limit }) => history(db, runId, after, limit),
    list: (params) => listPage(db, params),
    async listUnfinished() {
      const rows = await db
        .selectFrom('operations')
        .selectAll()
        .where('ended_at', 'is', null)
        .orderBy('created_at')
        .orderBy('id')
        .execute()
      return rows.map(toRun)
    },
    holderOf: (key) => holderOf(db, key),
    deleteEnded: (params) => inTransaction((trx) => deleteEnded(trx, params)),
  }
}

async function acquireFence(trx: Trx, { owner, at }: { owner: string; at: string }): Promise<number> {
  await trx
    .insertInto('operation_fence')
    .values({ id: 1, fence: 0, owner, acquired_at: at, alive_at: at })
    .onConflict((conflict) => conflict.column('id').doNothing())
    .execute()
  const { fence } = await trx
    .updateTable('operation_fence')
    .set((eb) => ({ fence: eb('fence', '+', 1), owner, acquired_at: at, alive_at: at }))
    .returning('fence')
    .executeTakeFirstOrThrow()
  return fence
}

async function newest(db: Db) {
  const [row] = (await newestFence(db, {})).rows as Selectable<OperationFenceTable>[]
  return row && { owner: row.owner, fence: row.fence, acquiredAt: row.acquired_at, aliveAt: row.alive_at }
}

async function checkNewest(db: Db, writer: Writer): Promise<void> {
  const current = await newest(db)
  if (current?.fence !== writer.fence || current.owner !== writer.owner) throw staleWriter(writer, current)
}

/** `SagaStore.createRun` inside a transaction of the caller, who has rows of its own to write with it. */
export async function createRunWithin(trx: Trx, params: CreateRunParams): Promise<void> {
  await checkNewest(trx, params)
  const { rows } = await insertRun(trx, newRow(params))
  if (rows.length === 0) throw new DomainError('conflict', `There is an operation ${params.runId} already.`)
  await append(trx, params.runId, params.entries)
  if (params.keys.length === 0) return
  const keys = params.keys.map((key) => ({ key, operation_id: params.runId }))
  await trx
    .insertInto('operation_holds')
    .values(keys)
    .onConflict((conflict) => conflict.column('key').doNothing())
    .execute()
  const holders = await holdersOf(trx, params.keys)
  const other = holders.find((holder) => holder.runId !== params.runId)
  if (other) throw held(other)
  await trx.insertInto('operation_keys').values(keys).execute()
}

async function append(trx: Trx, runId: string, entries: readonly LogEntry[]): Promise<void> {
  for (const entry of entries) await insertEntry(trx, entryRow(runId, entry))
}

async function claim(trx: Trx, { runId, owner, fence, at }: Writer & { runId: string; at: string }) {
  await checkNewest(trx, { owner, fence })
  const row = await trx
    .updateTable('operations')
    .set({ owner, fence, updated_at: at })
    .where('id', '=', runId)
    .returningAll()
    .executeTakeFirstOrThrow(() => missing(runId))
  const before = await history(trx, runId, 0, undefined)
  const seq = (before.at(-1)?.seq ?? 0) + 1
  const adopted: LogEntry = { seq, at, event: 'adopted', step: row.step, owner, fence }
  await append(trx, runId, [adopted])
  return { run: toRun(row), log: [...before, adopted] }
}

async function record(trx: Trx, params: RecordParams): Promise<RecordResult> {
  const { runId, at, entries, view, progress, ended } = params
  const changes = {
    ...viewColumns(view),
    ...(progress ? { progress: json(progress.value) } : {}),
    updated_at: at,
    ended_at: ended === null ? null : at,
  }
  const row = await updateOwned(trx, params, changes, params.unlessCancelled)
  if (!row) {
    const run = await find(trx, runId)
    const owned = run?.owner === params.owner && run.fence === params.fence
    if (!owned || !run.control.cancelRequested) throw await refusal(trx, params)
    // Cancelled; but the writer may have been replaced as well.
    await checkNewest(trx, params)
    return { recorded: false, control: run.control }
  }
  await append(trx, runId, entries)
  if (ended !== null) await trx.deleteFrom('operation_holds').where('operation_id', '=', runId).execute()
  return { recorded: true, control: toControl(row) }
}

async function setControls(trx: Trx, params: SetControlsParams): Promise<RunRecord> {
  const run = await lockOwned(trx, params)
  const cancels = params.cancelRequested === true && !run.control.cancelRequested
  const over = (endedStates as readonly string[]).includes(run.state)
  if (over || (cancels && !run.cancellable)) throw refused(run, params)
  const row = await updateOwned(trx, params, {
    ...(params.paused === undefined ? {} : { paused: flag(params.paused) }),
    ...(params.rate === undefined ? {} : { rate: params.rate }),
    ...(params.pace === undefined ? {} : { pace: params.pace }),
    ...(params.priority === undefined ? {} : { priority: params.priority }),
    ...(cancels ? { cancel_requested: 1, state: 'cancelling' } : {}),
    control_revision: run.control.revision + 1,
    updated_at: params.at,
  })
  if (!row) throw await refusal(trx, params)
  return toRun(row)
}

/** Changes nothing, and keeps others from changing the row until the transaction ends. */
async function lockOwned(trx: Trx, params: Writer & { runId: string; at: string }): Promise<RunRecord> {
  const row = await updateOwned(trx, params, { updated_at: params.at })
  if (!row) throw await refusal(trx, params)
  return toRun(row)
}

/** Updates the run's row if the writer is the newest and owns it; else undefined. */
async function updateOwned(
  trx: Trx,
  { runId, owner, fence }: Writer & { runId: string },
  changes: Changes,
  unlessCancelled = false,
): Promise<Selectable<OperationTable> | undefined> {
  const columns = Object.keys(changes) as (keyof OperationTable)[]
  const shape = `${columns.join()}${unlessCancelled ? ' unless cancelled' : ''}`
  let update = ownedUpdates.get(shape)
  if (update === undefined) ownedUpdates.set(shape, (update = ownedUpdate(columns, unlessCancelled)))
  const { rows } = await update(trx, { ...changes, ofRun: runId, byOwner: owner, atFence: fence })
  return (rows as Selectable<OperationTable>[])[0]
}

/** Why `updateOwned` found no row. */
async function refusal(trx: Trx, params: Writer & { runId: string }): Promise<DomainError> {
  const run = await find(trx, params.runId)
  if (!run) return missing(params.runId)
  const current = await newest(trx)
  return staleWriter(params, current && current.fence > run.fence ? current : run)
}

async function find(db: Db, runId: string): Promise<RunRecord | undefined> {
  const row = await db.selectFrom('operations').selectAll().where('id', '=', runId).executeTakeFirst()
  return row && toRun(row)
}

async function history(db: Db, runId: string, after: number, limit: number | undefined): Promise<LogEntry[]> {
  let query = db
    .selectFrom('operation_log')
    .selectAll()
    .where('operation_id', '=', runId)
    .where('seq', '>', after)
    .orderBy('seq')
  if (limit !== undefined) query = query.limit(limit)
  return (await query.execute()).map(toEntry)
}

async function listPage(db: Db, params: Parameters<SagaStore['list']>[0]) {
  const { kinds, states, key, parentId, updatedSince, limit, after } = params
  if (kinds?.length === 0 || states?.length === 0) return { runs: [], more: false }
  let query = db.selectFrom('operations').selectAll().orderBy('created_at', 'desc').orderBy('id', 'desc')
  if (kinds) query = query.where('kind', 'in', kinds)
  if (states) query = query.where('state', 'in', states)
  if (parentId === null) query = query.where('parent_id', 'is', null)
  else if (parentId !== undefined) query = query.where('parent_id', '=', parentId)
  if (updatedSince !== undefined) query = query.where('updated_at', '>=', updatedSince)
  if (key !== undefined) {
    query = query.where('id', 'in', (eb) =>
      eb.selectFrom('operation_keys').select('operation_id').where('key', '=', key),
    )
  }
  if (after !== undefined) {
    const last = await find(db, after)
    if (!last) throw missing(after)
    query = query.where((eb) => eb(eb.refTuple('created_at', 'id'), '<', eb.tuple(last.createdAt, last.id)))
  }
  const rows = await query.limit(limit + 1).execute()
  return { runs: rows.slice(0, limit).map(toRun), more: rows.length > limit }
}

const holderOf = async (db: Db, key: string) => (await holdersOf(db, [key]))[0]

async function holdersOf(db: Db, keys: readonly string[]): Promise<Holder[]> {
  const rows = await db
    .selectFrom('operation_holds')
    .innerJoin('operations', 'operations.id', 'operation_holds.operation_id')
    .select(['operation_holds.key as key', 'operations.id as runId', 'operations.kind as kind'])
    .where('operation_holds.key', 'in', [...keys])
    .orderBy('operation_holds.key')
    .execute()
  return rows.map(({ key, runId, kind }) => ({ key, runId, kind }))
}

async function deleteEnded(
  trx: Trx,
  { endedBefore, limit, ...writer }: Parameters<SagaStore['deleteEnded']>[0],
): Promise<number> {
  await checkNewest(trx, writer)
  const old = await trx
    .selectFrom('operations')
    .select('id')
    .where('ended_at', '<', endedBefore)
    .orderBy('ended_at')
    .limit(limit)
    .execute()
  if (old.length === 0) return 0
  await trx
    .deleteFrom('operations')
    .where(
      'id',
      'in',
      old.map(({ id }) => id),
    )
    .execute()
  return old.length
}
