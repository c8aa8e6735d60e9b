import { isDomainError } from '@volant/contract'
import type { Executor, HeldDetail, RunRecord, SagaStore } from '@volant/saga'
import { givesWay } from '../domain/giving-way.ts'
import { requirePausable } from '../domain/unpausable.ts'
import type { OperationEngine } from '../ports/operations.ts'

/** How long the start of an operation may wait in all for those that give way to it. Milliseconds. */
const patienceMs = 20_000
/** How many of them it may meet: one may begin between the end of another and the next attempt. */
const attempts = 5

/**
 * The executor behind the narrow port that the application uses. A function gives it, because the executor needs
 * the operations, and those need what is built with this port.
 */
export function operationEngine(
  executorOf: () => Executor,
  store: SagaStore,
  options: { patienceMs?: number } = {},
): OperationEngine {
  return {
    async start(operation, input, wishes) {
      const executor = executorOf()
      const { parent, id: chosen } = wishes ?? {}
      const start = (): Promise<RunRecord> =>
        executor.start(operation, input, {
          ...(parent !== undefined && { parent }),
          ...(chosen !== undefined && { id: chosen }),
        })
      const { id } = givesWay(operation.kind)
        ? await start()
        : await withWayMade(executor, start, {
            patience: options.patienceMs ?? patienceMs,
            holders: () => givingWayAt(store, operation.keysOf(input)),
          })
      const { rate = null, pace = null, priority = null } = wishes ?? {}
      if (rate !== null || pace !== null || priority !== null) {
        await executor.steer(id, { rate, pace, priority })
      }
      return { id }
    },
    async cancel(operationId) {
      await executorOf().cancel(operationId)
    },
    async pause(operationId) {
      requirePausable(await executorOf().get(operationId))
      await executorOf().pause(operationId)
    },
    async resume(operationId) {
      await executorOf().resume(operationId)
    },
    async steer(operationId, wishes) {
      await executorOf().steer(operationId, wishes)
    },
    get: (operationId) => executorOf().get(operationId),
    async partsOf(operationId) {
      const parts: RunRecord[] = []
      for (;;) {
        const after = parts.at(-1)?.id
        const page = await executorOf().list({
          parentId: operationId,
          limit: 1000,
          ...(after !== undefined && { after }),
        })
        parts.push(...page.runs)
        if (!page.more) return parts
      }
    },
    async underWay(kinds) {
      const unfinished = await store.listUnfinished()
      return unfinished.filter(({ kind }) => kinds.includes(kind))
    },
    async holderOf(key) {
      const holder = await store.holderOf(key)
      return holder && { id: holder.runId, kind: holder.kind }
    },
    async latestOf(key, limit) {
      return (await executorOf().list({ key, limit })).runs
    },
    historyOf: (operationId) => executorOf().history(operationId),
    settled: (operationId) => executorOf().ended(operationId),
  }
}

/** Those that give way, of all that hold one of the keys: the deletion of a volume may meet one for each snapshot. */
async function givingWayAt(store: SagaStore, keys: readonly string[]): Promise<string[]> {
  const holders = await Promise.all(keys.map((key) => store.holderOf(key)))
  return holders.flatMap((holder) => (holder !== undefined && givesWay(holder.kind) ? [holder.runId] : []))
}

/**
 * Starts what may not begin while some that give way hold keys of its: those are cancelled, or waited for where they
 * are past their commit, and the start is tried again. Throws the start's own `conflict` where that takes too long, or
 * where one of them can't end by itself.
 */
async function withWayMade<T>(
  executor: Executor,
  start: () => Promise<T>,
  { patience, holders }: { patience: number; holders: () => Promise<string[]> },
): Promise<T> {
  const deadline = performance.now() + patience
  for (let attempt = 1; ; attempt++) {
    try {
      return await start()
    } catch (error) {
      const holder = holderIn(error)
      if (!holder || !givesWay(holder.kind) || attempt === attempts) throw error
      const inTheWay = new Set([holder.runId, ...(await holders())])
      const left = deadline - performance.now()
      const ended = await Promise.all([...inTheWay].map((runId) => endOf(executor, runId, left)))
      if (ended.includes(false)) throw error
    }
  }
}

function holderIn(error: unknown): HeldDetail | undefined {
  if (!isDomainError(error) || error.code !== 'conflict') return undefined
  const { runId, kind } = (error.detail ?? {}) as Partial<HeldDetail>
  return typeof runId === 'string' && typeof kind === 'string' ? (error.detail as HeldDetail) : undefined
}

/** False where it has not ended within the time, and where it needs attention: then it keeps its keys. */
async function endOf(executor: Executor, runId: string, ms: number): Promise<boolean> {
  try {
    await executor.cancel(runId)
  } catch (error) {
    // It is past its commit and will end soon, or has ended by itself.
    if (!isDomainError(error) || (error.code !== 'conflict' && error.code !== 'notFound')) throw error
  }
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), Math.max(0, ms))
  })
  try {
    const run = await Promise.race([executor.ended(runId), late])
    return run !== undefined && run.state !== 'needs-attention'
  } finally {
    clearTimeout(timer)
  }
}
