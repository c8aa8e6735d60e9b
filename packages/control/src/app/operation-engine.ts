import type { Executor, RunRecord, SagaStore } from '@volant/saga'
import type { OperationEngine } from '../ports/operations.ts'

/**
 * The executor behind the narrow port that the application uses. A function gives it, because the executor needs
 * the operations, and those need what is built with this port.
 */
export function operationEngine(executorOf: () => Executor, store: SagaStore): OperationEngine {
  return {
    async start(operation, input, wishes) {
      const executor = executorOf()
      const { parent, id: chosen } = wishes ?? {}
      const { id } = await executor.start(operation, input, {
        ...(parent !== undefined && { parent }),
        ...(chosen !== undefined && { id: chosen }),
      })
      const rate = wishes?.rate ?? null
      if (rate !== null) await executor.setRate(id, rate)
      return { id }
    },
    async cancel(operationId) {
      await executorOf().cancel(operationId)
    },
    async pause(operationId) {
      await executorOf().pause(operationId)
    },
    async resume(operationId) {
      await executorOf().resume(operationId)
    },
    async setRate(operationId, rate) {
      await executorOf().setRate(operationId, rate)
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
