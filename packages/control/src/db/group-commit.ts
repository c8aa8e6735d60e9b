import { sql, type Kysely, type Transaction } from 'kysely'
import type { Database } from './schema.ts'

type Work<T> = (trx: Transaction<Database>) => Promise<T>

interface Unit {
  work: Work<unknown>
  settle: (outcome: Outcome) => void
}

type Outcome = { value: unknown } | { error: unknown }

/**
 * A durable commit costs milliseconds, in which the whole process stands still, and operations write to their journal at
 * each step. So those that come in the same turn of the event loop share one: each is as atomic as in a transaction of its own,
 * by a savepoint, and each is told of its end when all are on disk. Where the commit fails it has failed for all of them, and
 * nothing of any is written.
 */
export function groupCommit(db: Kysely<Database>): <T>(work: Work<T>) => Promise<T> {
  let waiting: Unit[] = []
  const flush = async (): Promise<void> => {
    const units = waiting
    waiting = []
    let outcomes: Outcome[]
    try {
      outcomes = await db.transaction().execute((trx) => each(trx, units))
    } catch (error) {
      outcomes = units.map(() => ({ error }))
    }
    units.forEach(({ settle }, i) => settle(outcomes[i] ?? { error: new Error('It was not carried out.') }))
  }
  return <T>(work: Work<T>) =>
    new Promise<T>((resolve, reject) => {
      const settle = (outcome: Outcome): void =>
        'error' in outcome ? reject(outcome.error) : resolve(outcome.value as T)
      waiting.push({ work, settle })
      // After all that is ready in this turn: whoever else has something to write has brought it by then.
      if (waiting.length === 1) setImmediate(() => void flush())
    })
}

async function each(trx: Transaction<Database>, units: readonly Unit[]): Promise<Outcome[]> {
  const [only] = units
  // What it throws rolls its transaction back, and is told to it alone.
  if (units.length === 1 && only !== undefined) return [{ value: await only.work(trx) }]
  const outcomes: Outcome[] = []
  for (const { work } of units) {
    await sql`savepoint one`.execute(trx)
    let outcome: Outcome
    try {
      outcome = { value: await work(trx) }
    } catch (error) {
      // Of some errors, such as a full disk, the whole transaction is rolled back already: then this one fails for all.
      await sql`rollback to savepoint one`.execute(trx).catch(() => Promise.reject(error))
      outcome = { error }
    }
    await sql`release savepoint one`.execute(trx)
    outcomes.push(outcome)
  }
  return outcomes
}
