import { DatabaseSync } from 'node:sqlite'
import { join } from 'node:path'
import { openDatabase } from '@volant/control/db/open.ts'
import { operationStore } from '@volant/control/db/repositories/operation.ts'
import { bind, Executor, nothingToUndo, operation } from '@volant/saga'
import { row, spreadOf, type BenchCase } from '../bench-case.ts'
import { interleave, median, ratios, timed } from '../measure.ts'

const nothing = { do: async () => null, undo: nothingToUndo }
const runsEachTime = 10

/** Five steps that do nothing: what remains is the engine and its log on disk. */
const fiveSteps = operation<Record<string, never>, null>('bench.five-steps', { version: 1 })
  .holds(() => [])
  .step('first', nothing)
  .step('second', nothing)
  .step('third', nothing)
  .step('fourth', nothing)
  .step('fifth', nothing)

/** What a durable step costs, beside the smallest durable write of the same database engine in the same folder. */
export const durableStep: BenchCase = {
  name: 'durable-step',
  title: 'Durable operations',
  async run({ folder, quick }) {
    const db = await openDatabase(join(folder, 'volant.db'))
    const executor = new Executor({
      store: operationStore(db),
      owner: 'bench',
      operations: [bind(fiveSteps, null)],
    })
    const bare = bareDatabase(join(folder, 'bare.db'))
    try {
      await executor.begin()
      const results = await interleave(
        {
          step: async () => (await timed(() => runSome(executor))).ms / runsEachTime / 5,
          commit: async () => (await timed(async () => commitSome(bare))).ms / runsEachTime / 5,
        },
        quick ? 5 : 15,
      )
      const { step, commit } = results
      return [
        row({
          name: 'One step of an operation, with its durable write',
          value: median(step),
          unit: 'ms',
          spread: spreadOf(step),
          note: 'a run of five empty steps, divided by five: its creation and its end are in it',
        }),
        row({
          name: 'One committed row of SQLite (WAL, synchronous=full)',
          value: median(commit),
          unit: 'ms',
          spread: spreadOf(commit),
        }),
        row({
          name: 'Step ÷ committed row',
          value: median(ratios(step, commit)),
          unit: '×',
          spread: spreadOf(ratios(step, commit)),
        }),
      ]
    } finally {
      bare.close()
      await executor.stop()
      await db.destroy()
    }
  },
}

async function runSome(executor: Executor): Promise<void> {
  for (let i = 0; i < runsEachTime; i += 1) {
    const { state } = await executor.ended((await executor.start(fiveSteps, {})).id)
    if (state !== 'succeeded') throw new Error(`An empty operation ${state}.`)
  }
}

/** The smallest durable write of the same database engine. */
export function bareDatabase(path: string): DatabaseSync {
  const db = new DatabaseSync(path)
  db.exec(
    'pragma journal_mode = wal; pragma synchronous = full; create table t (id integer primary key, text text)',
  )
  return db
}

export function commitSome(db: DatabaseSync, count = 5 * runsEachTime): void {
  const insert = db.prepare('insert into t (text) values (?)')
  for (let i = 0; i < count; i += 1) insert.run('x'.repeat(200))
}
