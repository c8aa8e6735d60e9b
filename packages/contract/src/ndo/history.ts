import { Type, type Static } from 'typebox'

/** Wire shapes of the history that can be exported: an operation with all that is on record of it. Times: ISO 8601. */

const nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const time = Type.String()

const Failure = Type.Object({
  /** `retry`, `final` or `unknown`. */
  class: Type.String(),
  /** One of the error codes of the contract; null where the error had none. */
  code: nullable(Type.String()),
  message: Type.String(),
})

/** One entry of an operation's log, which is the truth about how far it is. Absent: the event has no such thing. */
export const HistoryEntry = Type.Object({
  /** 1, 2, 3 … in each operation. */
  seq: Type.Integer({ minimum: 1 }),
  at: time,
  /** started, done, failed, not-happened, ask-failed, cancelled, undone, undo-failed, adopted, paused, … ended. */
  event: Type.String(),
  step: nullable(Type.String()),
  /** What the step returned. */
  output: Type.Optional(Type.Unknown()),
  failure: Type.Optional(Failure),
  /** What was decided after the failure: retry, ask, unwind, attention. */
  decision: Type.Optional(Type.String()),
  attempt: Type.Optional(Type.Integer()),
  /** Where it goes on after a commit that did not happen. */
  to: Type.Optional(Type.String()),
  retry_at: Type.Optional(time),
  /** On `adopted`: the control plane that took over, and its fence number. */
  owner: Type.Optional(Type.String()),
  fence: Type.Optional(Type.Integer()),
  /** On `ended`. */
  state: Type.Optional(Type.String()),
})
export type HistoryEntry = Static<typeof HistoryEntry>

/** `GET /ndo/v1/operations/{id}/history`, and one line of `volant operations export`. */
export const OperationRecord = Type.Object({
  id: Type.String(),
  kind: Type.String(),
  /** Of the declaration that it was started with, and the names of its steps. */
  version: Type.Integer(),
  steps: Type.Array(Type.String()),
  /** What it locks, or locked. */
  keys: Type.Array(Type.String()),
  input: Type.Unknown(),
  /** The engine's own: pending, running, waiting, paused, cancelling, unwinding, needs-attention, or an end. */
  state: Type.String(),
  step: nullable(Type.String()),
  failure: nullable(Type.Intersect([Failure, Type.Object({ step: Type.String() })])),
  /** Of a copy `progress.pace.series` has its pace over time: seconds, limit, p99, bound; -1 stands for none. */
  progress: Type.Unknown(),
  control: Type.Object({
    paused: Type.Boolean(),
    cancel_requested: Type.Boolean(),
    rate: nullable(Type.Integer()),
    pace: nullable(Type.String()),
    priority: nullable(Type.String()),
  }),
  owner: Type.String(),
  fence: Type.Integer(),
  created_at: time,
  updated_at: time,
  ended_at: nullable(time),
  history: Type.Array(HistoryEntry),
})
export type OperationRecord = Static<typeof OperationRecord>

/** `GET /ndo/v1/history`, newest first. `marker` is the id of the last one of the page before. */
export const HistoryQuery = Type.Object(
  {
    /** Only those of which something was put on record at or after this time. */
    since: Type.Optional(Type.String({ maxLength: 40 })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
    marker: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
  },
  { additionalProperties: false },
)
export type HistoryQuery = Static<typeof HistoryQuery>

export interface HistoryPage {
  records: OperationRecord[]
  /** The marker of the next page; null on the last. */
  next_marker: string | null
}
