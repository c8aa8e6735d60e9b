import type { EndedState, LogEntry, RunFailure, RunRecord, RunState, StoredControl } from './types.ts'

/**
 * Where runs are kept. It decides nothing; it is atomic, durable, and refuses who has been replaced.
 *
 * - Each method is one transaction, durable when its promise resolves.
 * - Every method that changes something takes a `Writer`. It is refused with `DomainError('staleFence')` where
 *   its fence is not the newest, or another writer has claimed the run.
 * - **One durable write per step.** What a step returned, the intent to begin the next one, the state shown, and
 *   at the end the release of the keys go into a single `record`, because to make a write durable (fsync) costs
 *   more than all the rest. That is why there are no separate methods for them.
 *
 * `testing/store-suite.ts` is this contract as tests.
 */
export interface SagaStore {
  /** Makes `owner` the newest control plane: returns a fence number above all earlier ones. */
  acquireFence(params: AcquireFenceParams): Promise<number>
  /** Tells that the writer is alive. `staleFence` where it has been replaced. */
  heartbeat(params: HeartbeatParams): Promise<void>
  /** The newest fence, and when its owner was last alive; undefined before the first. */
  currentFence(): Promise<FenceRecord | undefined>

  /** Records a run and locks its keys. `conflict` (see `HeldDetail`) where another run holds one of them. */
  createRun(params: CreateRunParams): Promise<void>
  /** Takes an unfinished run over from an earlier writer and returns it with its whole log. */
  claim(params: ClaimParams): Promise<ClaimedRun>
  /** Appends to the log and replaces what the row shows; with `ended`, releases the keys. */
  record(params: RecordParams): Promise<RecordResult>
  setProgress(params: SetProgressParams): Promise<void>
  /**
   * Changes the operator's wishes. A first `cancelRequested` is refused with `conflict` where the run is not
   * `cancellable`; where it is, the run's state becomes `cancelling` in the same transaction.
   */
  setControls(params: SetControlsParams): Promise<RunRecord>

  get(runId: string): Promise<RunRecord | undefined>
  /** The log, oldest first. */
  history(params: HistoryParams): Promise<LogEntry[]>
  list(params: ListParams): Promise<ListPage>
  /** All runs that have not ended, oldest first. */
  listUnfinished(): Promise<RunRecord[]>
  /** The run that holds the key. */
  holderOf(key: string): Promise<Holder | undefined>
  /** Forgets ended runs with their logs; returns how many. Keeps the store from growing without bound. */
  deleteEnded(params: DeleteEndedParams): Promise<number>
}

/** Who writes: a control plane and its fence number. */
export interface Writer {
  owner: string
  fence: number
}

export interface AcquireFenceParams {
  owner: string
  at: string
}

export interface HeartbeatParams extends Writer {
  at: string
}

export interface FenceRecord extends Writer {
  acquiredAt: string
  aliveAt: string
}

/** A log entry whose place is known: the writer counts. */
export type NewLogEntry = LogEntry

/** What the row shows; a view of the log, written with it. */
export interface RunView {
  state: RunState
  step: string | null
  cancellable: boolean
  failure: RunFailure | null
}

export interface CreateRunParams extends Writer {
  runId: string
  kind: string
  version: number
  steps: string[]
  keys: string[]
  input: unknown
  parentId: string | null
  at: string
  entries: NewLogEntry[]
  view: RunView
}

export interface Holder {
  key: string
  runId: string
  kind: string
}

/** `detail` of the `conflict` that `createRun` throws. */
export type HeldDetail = Holder

export interface ClaimParams extends Writer {
  runId: string
  at: string
}

export interface ClaimedRun {
  run: RunRecord
  log: LogEntry[]
}

export interface RecordParams extends Writer {
  runId: string
  at: string
  /** Repeating a call whose answer was lost changes nothing: an entry that is there already is left alone. */
  entries: NewLogEntry[]
  view: RunView
  /** Replaces the stored progress; left alone when absent. */
  progress?: { value: unknown }
  /** Write nothing if a cancel has been requested: it was promised, so the commit may not begin. */
  unlessCancelled: boolean
  /** The run is over: its keys are released. */
  ended: EndedState | null
}

export interface RecordResult {
  /** False only for `unlessCancelled`. */
  recorded: boolean
  control: StoredControl
}

export interface SetProgressParams extends Writer {
  runId: string
  at: string
  value: unknown
}

export interface SetControlsParams extends Writer {
  runId: string
  at: string
  paused?: boolean
  cancelRequested?: true
  rate?: number | null
  pace?: string | null
  priority?: string | null
}

export interface HistoryParams {
  runId: string
  /** Only entries after this `seq`. */
  after?: number
  limit?: number
}

export interface ListParams {
  kinds?: string[]
  states?: RunState[]
  /** Only runs that hold, or held, this key. */
  key?: string
  /** Only parts of this run; null: only runs that are no part of another. */
  parentId?: string | null
  /** ISO 8601: only runs of which something was recorded at or after this time. */
  updatedSince?: string
  /** 1 to 1000. */
  limit: number
  /** The id of the last run of the page before. */
  after?: string
}

export interface ListPage {
  /** Newest first. */
  runs: RunRecord[]
  more: boolean
}

export interface DeleteEndedParams extends Writer {
  /** ISO 8601: only what ended before. */
  endedBefore: string
  limit: number
}
