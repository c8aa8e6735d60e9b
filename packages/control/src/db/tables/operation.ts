/** Times are UTC in ISO 8601 with milliseconds and `Z`; JSON columns hold text; booleans are 0 or 1. */
export interface OperationTable {
  id: string
  /** noun.verb, such as `volume.migrate`. */
  kind: string
  version: number
  /** JSON: names of all steps, as the code that started it declared them. */
  steps: string
  /** JSON: what it locks, kept for the history; the locks themselves are `operation_holds`. */
  keys: string
  /** JSON. */
  input: string
  /** The operation that it is a part of. */
  parent_id: string | null
  /** See `RunState` of the saga package. */
  state: string
  step: string | null
  cancellable: number
  /** JSON of `RunFailure`, or null. */
  failure: string | null
  /** JSON, or null. */
  progress: string | null
  /** The operator's wishes. */
  paused: number
  cancel_requested: number
  /** Bytes per second; null: none. A driver may return it as text. */
  rate: number | string | null
  /** Such as `2x`, `5ms`, `50M`, `full`; null: as configured. */
  pace: string | null
  /** high, normal, low; null: normal. */
  priority: string | null
  /** Rises with each change of a wish. */
  control_revision: number
  /** The control plane that carries it out, and that one's fence number. */
  owner: string
  fence: number
  created_at: string
  updated_at: string
  ended_at: string | null
}

/** The log is the truth about how far an operation is; the columns `state`, `step`, `failure` are views of it. */
export interface OperationLogTable {
  operation_id: string
  seq: number
  at: string
  event: string
  step: string | null
  /** JSON: whatever else the entry says. */
  data: string
}

/** One row for each key that is locked now; the primary key is the lock. */
export interface OperationHoldTable {
  key: string
  operation_id: string
}

/** One row for each key that an operation holds or held, to find a volume's operations. */
export interface OperationKeyTable {
  key: string
  operation_id: string
}

/** A single row (`id` 1): the newest control plane. */
export interface OperationFenceTable {
  id: number
  fence: number
  owner: string
  acquired_at: string
  alive_at: string
}

export interface OperationTables {
  operations: OperationTable
  operation_log: OperationLogTable
  operation_holds: OperationHoldTable
  operation_keys: OperationKeyTable
  operation_fence: OperationFenceTable
}
