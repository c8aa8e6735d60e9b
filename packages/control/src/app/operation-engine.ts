import type { Executor, SagaStore } from '@volant/saga'
import type { OperationEngine } from '../ports/operations.ts'

/**
 * The executor behind the narrow port that the application uses. A function gives it, because the executor needs
 * the operations, and those need what is built with this port.
 */
export function operationEngine(executorOf: () => Executor, store: SagaStore): OperationEngine {
  return {
    async start(operation, input, wishes) {
      const executor = executorOf()
      const { id } = await executor.start(operation, input)
      const rate = wishes?.rate ?? null
      if (rate !== null) await executor.setRate(id, rate)
      return { id }
    },
    async cancel(operationId) {
      await executorOf().cancel(operationId)
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
