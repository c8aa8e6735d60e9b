import { Type, type Static } from 'typebox'

/** Wire shapes of `/ndo/v1/operations`. Times are ISO 8601, UTC; sizes are bytes; rates are bytes per second. */

const id = Type.String({ minLength: 1, maxLength: 64 })
const time = Type.String()
const nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const bytes = Type.Integer({ minimum: 0 })
const count = Type.Integer({ minimum: 0 })

/** 0 is unlimited. 1 TiB/s is more than any link; a larger figure is a mistake. */
export const Rate = Type.Integer({ minimum: 0, maximum: 1024 ** 4 })

/**
 * What a copy holds to: `2x` (the 99th percentile of what its clients wait for stays within twice what it was without the
 * copy), `5ms` (it stays within 5 ms), `50M` (a fixed rate), `full`. The rate is an upper bound in addition.
 */
export const Pace = Type.String({ minLength: 1, maxLength: 32 })
/** How an operation stands beside others that copy from or to the same disks: `high`, `normal`, `low`. */
export const Priority = Type.String({ minLength: 1, maxLength: 16 })
/** In requests that begin a copy. Absent: as configured, and `normal`. */
export const paceFields = { pace: Type.Optional(Pace), priority: Type.Optional(Priority) }
export interface PaceWishes {
  pace?: string
  priority?: string
}

/** `needs-attention`: neither finished nor undone; `error.reason` says why, `commands` how to go on. */
export const operationStates = [
  'running',
  'paused',
  'cancelling',
  'succeeded',
  'failed',
  'cancelled',
  'needs-attention',
] as const
export type OperationState = (typeof operationStates)[number]

/** States that an operation never leaves. */
export const finalStates: readonly OperationState[] = ['succeeded', 'failed', 'cancelled']

/** Whether anything will still change without somebody's help: the end of a stream of events. */
export const isSettled = (state: OperationState): boolean =>
  finalStates.includes(state) || state === 'needs-attention'

export const OperationProgress = Type.Object({
  /** 0 to 100; null where the operation has no measure. 100 only when it has succeeded. */
  percent: nullable(Type.Number({ minimum: 0, maximum: 100 })),
  done_bytes: nullable(bytes),
  total_bytes: nullable(bytes),
  /** What the client wrote that is still to be copied; null before the first pass is over. */
  dirty_bytes: nullable(bytes),
  rate_bytes_per_second: nullable(Type.Number({ minimum: 0 })),
  eta_seconds: nullable(Type.Number({ minimum: 0 })),
  /** The limit put on a client that outran the copy, in bytes per second; null: it was not shaped. */
  client_limit_bytes_per_second: nullable(Type.Number({ minimum: 0 })),
  /** How fast its copy may go now, and why; null where it copies nothing, or its parts do. */
  pace: nullable(
    Type.Object({
      /** As it was asked for, or as configured. */
      policy: Type.String(),
      priority: Type.String(),
      /** Null: unlimited. */
      limit_bytes_per_second: nullable(Type.Number({ minimum: 0 })),
      /** none, latency, rate, budget, unknown (the latency of its client can't be found out). */
      limited_by: Type.String(),
      /** Milliseconds, of the client that is nearest to its bound; null: nobody is there, or it is not known. */
      p99_ms: nullable(Type.Number({ minimum: 0 })),
      bound_ms: nullable(Type.Number({ minimum: 0 })),
      /** Without the copy; null: it was idle then. */
      baseline_ms: nullable(Type.Number({ minimum: 0 })),
      /** In words. */
      reason: Type.String(),
    }),
  ),
  /** Of a FlexVol's move and of a vacate: how many images are where. */
  images: nullable(
    Type.Object({ total: count, moved: count, copying: count, in_sync: count, queued: count, failed: count }),
  ),
  /** Of a vacate. `stuck`: they can't move, or their move has failed. */
  flexvols: nullable(
    Type.Object({ total: count, moved: count, moving: count, waiting: count, stuck: count }),
  ),
  /** Of the drain and the restore of a compute host. Bytes are of servers' memory. */
  servers: nullable(
    Type.Object({
      total: count,
      done: count,
      moving: count,
      waiting: count,
      stays: count,
      /** Of the end: what may be done with the host now. */
      note: nullable(Type.String()),
      list: Type.Array(
        Type.Object({
          id: Type.String(),
          name: Type.String(),
          /** waiting, moving, moved, stopped, started, stays. */
          state: Type.String(),
          /** live, cold, stop, start; null: nothing was done with it. */
          way: nullable(Type.String()),
          from: Type.String(),
          to: nullable(Type.String()),
          done_bytes: bytes,
          total_bytes: bytes,
          /** Why it waits or stays. */
          reason: nullable(Type.String()),
          /** When what failed for a passing reason is tried again. */
          retry_at: nullable(time),
        }),
      ),
    }),
  ),
})
export type OperationProgress = Static<typeof OperationProgress>

export const OperationAttempt = Type.Object({
  at: time,
  /** Why it did not succeed. */
  reason: Type.String(),
})
export type OperationAttempt = Static<typeof OperationAttempt>

export const Operation = Type.Object({
  id,
  /** For example `volume.migrate`. */
  kind: Type.String(),
  state: Type.Union(operationStates.map((state) => Type.Literal(state))),
  /** The declared step it is in; null before the first and after the last. */
  step: nullable(Type.String()),
  /** What the step is doing, where the data plane says so: copying, ready, completing, pending… */
  phase: nullable(Type.String()),
  /** A volume, snapshot, share, server, flexvol, aggregate, node or (compute) host. The name of a share's FlexVol is the share's. */
  resource: Type.Object({ type: Type.String(), id: Type.String(), name: nullable(Type.String()) }),
  /** The operation that it is a part of. */
  parent: nullable(id),
  /** How many parts it has (had), up to 1000. */
  parts: count,
  /**
   * Host strings `HOST@BACKEND#POOL` for a migration, `AGGREGATE@NODE` for a move, compute hosts for a server that goes to
   * another; null where it has none.
   */
  source: nullable(Type.String()),
  target: nullable(Type.String()),
  progress: OperationProgress,
  controls: Type.Object({
    paused: Type.Boolean(),
    /** Bytes per second; 0 is unlimited. */
    rate_limit: Rate,
    /** What holds where it copies: what was asked for, or what is configured. */
    pace: Type.String(),
    priority: Type.String(),
  }),
  /**
   * Milliseconds for which the daemon held the client's I/O at the cutover, none of it in flight, measured by the
   * daemon's own events; null until then, and for a detached volume. Of a FlexVol's move the longest so far. Of a live
   * migration for how long the guest stood still.
   */
  client_pause_ms: nullable(Type.Number({ minimum: 0 })),
  /** From the request for completion to its end: no request of the client waited longer for the cutover. */
  client_pause_bound_ms: nullable(Type.Number({ minimum: 0 })),
  /** Each try that did not succeed, oldest first. */
  attempts: Type.Array(OperationAttempt),
  error: nullable(
    Type.Object({
      reason: Type.String(),
      /** One of the error codes of the contract. */
      class: Type.String(),
    }),
  ),
  /** For an operation that takes another one back: which one, and why in this way. */
  undo_of: nullable(Type.Object({ operation: id, reason: Type.String() })),
  /** Until when it can itself be undone after its end; null: it can't, or not any more. */
  undo_until: nullable(time),
  /** Why the operation stands still until a person acts; null while it needs nobody. */
  attention: nullable(
    Type.Object({
      /** The step, or the step whose undo, it stands at. */
      step: Type.String(),
      reason: Type.String(),
      /** Why that step may be skipped, and what is left to do by hand then; null: it may not. */
      skip: nullable(Type.String()),
      /** Whether the commit was made cannot be found out: only a person can say, with `decide`. */
      decide: Type.Boolean(),
    }),
  ),
  created_at: time,
  updated_at: time,
  finished_at: nullable(time),
  /** What an administrator may type next, ready to be pasted: to go on, to undo, to look closer. */
  commands: Type.Array(Type.String()),
})
/** One durable piece of work, as `/ndo/v1/operations` shows it. */
export type Operation = Omit<Static<typeof Operation>, 'state'> & { state: OperationState }

/** `GET /ndo/v1/operations`, newest first. `marker` is the id of the last one of the page before. */
export const OperationListQuery = Type.Object(
  {
    state: Type.Optional(Type.String({ maxLength: 32 })),
    kind: Type.Optional(Type.String({ maxLength: 64 })),
    /** A resource's id. */
    resource: Type.Optional(id),
    /** Only the parts of this operation. */
    parent: Type.Optional(id),
    /** Also operations that are parts of another; absent: `false`. */
    parts: Type.Optional(Type.Union([Type.Literal('true'), Type.Literal('false')])),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
    marker: Type.Optional(id),
  },
  { additionalProperties: false },
)
export type OperationListQuery = Static<typeof OperationListQuery>

export const OperationList = Type.Object({
  operations: Type.Array(Operation),
  /** The marker of the next page; null on the last. */
  next_marker: nullable(id),
})
export interface OperationList {
  operations: Operation[]
  next_marker: string | null
}

/** `GET /ndo/v1/operations/{id}`, and the answer to pause, resume, cancel, skip, decide, rate and pace. */
export const OperationDocument = Type.Object({ operation: Operation })
export interface OperationDocument {
  operation: Operation
}

/** `PUT /ndo/v1/operations/{id}/rate`. */
export const SetRateRequest = Type.Object({ bytes_per_second: Rate }, { additionalProperties: false })
export type SetRateRequest = Static<typeof SetRateRequest>

/** `PUT /ndo/v1/operations/{id}/pace`: one of the two, or both. */
export const SetPaceRequest = Type.Object(paceFields, { additionalProperties: false, minProperties: 1 })
export type SetPaceRequest = Static<typeof SetPaceRequest>

/** `POST /ndo/v1/operations/{id}/decide`: a person has found out whether the commit was made. */
export const DecideRequest = Type.Object({ happened: Type.Boolean() }, { additionalProperties: false })
export type DecideRequest = Static<typeof DecideRequest>
