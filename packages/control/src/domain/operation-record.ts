import type { HistoryEntry, OperationRecord } from '@volant/contract/ndo/history.ts'
import type { LogEntry, RunRecord } from '@volant/saga'

/** A run with its whole log, as it is exported. */
export function operationRecord(run: RunRecord, log: readonly LogEntry[]): OperationRecord {
  return {
    id: run.id,
    kind: run.kind,
    version: run.version,
    steps: run.steps,
    keys: run.keys,
    input: run.input,
    state: run.state,
    step: run.step,
    failure: run.failure,
    progress: run.progress,
    control: {
      paused: run.control.paused,
      cancel_requested: run.control.cancelRequested,
      rate: run.control.rate,
      pace: run.control.pace,
      priority: run.control.priority,
    },
    owner: run.owner,
    fence: run.fence,
    created_at: run.createdAt,
    updated_at: run.updatedAt,
    ended_at: run.endedAt,
    history: log.map(entryView),
  }
}

function entryView({ retryAt, ...entry }: LogEntry): HistoryEntry {
  return { ...entry, ...(retryAt === undefined ? {} : { retry_at: retryAt }) }
}
