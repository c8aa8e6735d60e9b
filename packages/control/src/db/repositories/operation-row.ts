import type { Selectable } from 'kysely'
import type {
  CreateRunParams,
  LogEntry,
  RunFailure,
  RunRecord,
  RunState,
  RunView,
  StoredControl,
} from '@volant/saga'
import { flag, isSet } from '../columns.ts'
import type { OperationLogTable, OperationTable } from '../tables/operation.ts'

const list = (text: string): string[] => JSON.parse(text) as string[]

/** Columns that hold JSON where null also stands for "none". */
const parsed = (text: string | null): unknown => (text === null ? null : (JSON.parse(text) as unknown))
export const json = (value: unknown): string | null =>
  value === null || value === undefined ? null : JSON.stringify(value)

export const toControl = (
  row: Pick<
    Selectable<OperationTable>,
    'paused' | 'cancel_requested' | 'rate' | 'pace' | 'priority' | 'control_revision'
  >,
): StoredControl => ({
  paused: isSet(row.paused),
  cancelRequested: isSet(row.cancel_requested),
  rate: row.rate === null ? null : Number(row.rate),
  pace: row.pace,
  priority: row.priority,
  revision: row.control_revision,
})

export const toRun = (row: Selectable<OperationTable>): RunRecord => ({
  id: row.id,
  kind: row.kind,
  version: row.version,
  steps: list(row.steps),
  keys: list(row.keys),
  input: parsed(row.input),
  parentId: row.parent_id,
  state: row.state as RunState,
  step: row.step,
  cancellable: isSet(row.cancellable),
  control: toControl(row),
  progress: parsed(row.progress),
  failure: parsed(row.failure) as RunFailure | null,
  owner: row.owner,
  fence: row.fence,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
  endedAt: row.ended_at,
})

export const viewColumns = (view: RunView) => ({
  state: view.state,
  step: view.step,
  cancellable: flag(view.cancellable),
  failure: json(view.failure),
})

export const newRow = (params: CreateRunParams) => ({
  id: params.runId,
  kind: params.kind,
  version: params.version,
  steps: JSON.stringify(params.steps),
  keys: JSON.stringify(params.keys),
  input: json(params.input) ?? 'null',
  parent_id: params.parentId,
  ...viewColumns(params.view),
  progress: null,
  paused: 0,
  cancel_requested: 0,
  rate: null,
  pace: null,
  priority: null,
  control_revision: 0,
  owner: params.owner,
  fence: params.fence,
  created_at: params.at,
  updated_at: params.at,
  ended_at: null,
})

export const toEntry = (row: Selectable<OperationLogTable>): LogEntry => ({
  seq: row.seq,
  at: row.at,
  event: row.event as LogEntry['event'],
  step: row.step,
  ...(JSON.parse(row.data) as Partial<LogEntry>),
})

export const runColumns: readonly (keyof OperationTable)[] = [
  ...([
    'id',
    'kind',
    'version',
    'steps',
    'keys',
    'input',
    'parent_id',
    'state',
    'step',
    'cancellable',
  ] as const),
  ...(['failure', 'progress', 'paused', 'cancel_requested', 'rate', 'pace', 'priority'] as const),
  ...(['control_revision', 'owner', 'fence', 'created_at', 'updated_at', 'ended_at'] as const),
]

export const entryColumns = ['operation_id', 'seq', 'at', 'event', 'step', 'data'] as const

export function entryRow(runId: string, entry: LogEntry) {
  const { seq, at, event, step, ...rest } = entry
  return { operation_id: runId, seq, at, event, step, data: JSON.stringify(rest) }
}
