import { Type, type Static } from 'typebox'
import { movementStates, type MovementState } from './flexvol.ts'
import { PlanCheck } from './migration.ts'
import { paceFields, Rate, type Operation } from './operation.ts'

/** Wire shapes of `/ndo/v1/moves`: FlexVols that move to another aggregate of their cluster. For administrators. */

const nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const bytes = Type.Integer({ minimum: 0 })
const count = Type.Integer({ minimum: 0 })

/** As of ONTAP's `volume move`. */
export const moveCutoverActions = [
  'retry_on_failure',
  'abort_on_failure',
  'defer_on_failure',
  'wait',
] as const
const CutoverAction = Type.Union(moveCutoverActions.map((action) => Type.Literal(action)))
const CutoverWindow = Type.Integer({ minimum: 30, maximum: 300 })

/**
 * `POST /ndo/v1/moves`. With `dry_run` it answers 200 with `{plan}` and changes nothing; without it 202 with
 * `{operation}`, whose id is the move's, or the error of the first check that fails.
 */
export const MoveRequest = Type.Object(
  {
    /** The FlexVol's id. */
    flexvol: Type.String({ minLength: 1, maxLength: 64 }),
    /** By name; of the FlexVol's cluster. */
    aggregate: Type.String({ minLength: 1, maxLength: 255 }),
    dry_run: Type.Optional(Type.Boolean()),
    /** For all images together; 0: unlimited; absent: the configured default. */
    rate: Type.Optional(Rate),
    ...paceFields,
    /** Seconds for which a live image's cutover may be tried. Absent: 30. */
    cutover_window: Type.Optional(CutoverWindow),
    /** What follows when a live image's cutover has failed three times. Absent: `retry_on_failure`. */
    cutover_action: Type.Optional(CutoverAction),
  },
  { additionalProperties: false },
)
export type MoveRequest = Omit<Static<typeof MoveRequest>, 'cutover_action'> & {
  cutover_action?: (typeof moveCutoverActions)[number]
}

/** `POST /ndo/v1/moves/{id}/modify`. */
export const MoveChange = Type.Object(
  { cutover_window: Type.Optional(CutoverWindow), cutover_action: Type.Optional(CutoverAction) },
  { additionalProperties: false, minProperties: 1 },
)
export type MoveChange = Pick<MoveRequest, 'cutover_window' | 'cutover_action'>

export const MovePlan = Type.Object({
  /** All checks hold: the same request without `dry_run` would start. */
  ok: Type.Boolean(),
  flexvol: Type.Object({ id: Type.String(), name: nullable(Type.String()) }),
  /** `AGGREGATE@NODE`; null where it is not known. */
  from: nullable(Type.String()),
  to: nullable(Type.String()),
  checks: Type.Array(PlanCheck),
  images: Type.Object({ volumes: count, attached: count, snapshots: count }),
  estimate: nullable(
    Type.Object({
      /** What will be copied. */
      bytes,
      /** What the destination has for it. */
      free_bytes: bytes,
      seconds: Type.Number({ minimum: 0 }),
      /** Bytes per second that `seconds` is reckoned with. */
      rate: Type.Number({ minimum: 0 }),
      /** What images share is copied once, and shared there as well. */
      stays_shared: Type.Boolean(),
    }),
  ),
  steps: Type.Array(Type.String()),
})
export type MovePlan = Static<typeof MovePlan>

export const ImageCounts = Type.Object({
  total: count,
  moved: count,
  copying: count,
  in_sync: count,
  queued: count,
  failed: count,
})
export type ImageCounts = Static<typeof ImageCounts>

/** One image on its way. `moved`: at the destination; `home`: not, in a move that was given up. */
export const MoveImage = Type.Object({
  kind: Type.Union([Type.Literal('volume'), Type.Literal('snapshot')]),
  /** The volume's or snapshot's id. */
  id: Type.String(),
  name: nullable(Type.String()),
  state: Type.Union(
    (['queued', 'copying', 'in-sync', 'moved', 'failed', 'home'] as const).map((state) =>
      Type.Literal(state),
    ),
  ),
  attached: Type.Boolean(),
  done_bytes: bytes,
  total_bytes: bytes,
  /** Milliseconds for which the client's I/O was held; null: no cutover was needed, or none came yet. */
  client_pause_ms: nullable(Type.Number({ minimum: 0 })),
  attempts: count,
  /** Why earlier attempts failed, oldest first. */
  issues: Type.Array(Type.String()),
  /** The operation that moves it now, or last did. */
  operation: nullable(Type.String()),
})
export type MoveImage = Omit<Static<typeof MoveImage>, 'state' | 'kind'> & {
  kind: 'volume' | 'snapshot'
  state: 'queued' | 'copying' | 'in-sync' | 'moved' | 'failed' | 'home'
}

export const Move = Type.Object({
  /** Also its operation's. */
  id: Type.String(),
  flexvol: Type.Object({
    id: Type.String(),
    name: nullable(Type.String()),
    /** Null: it is a share's, or gone. */
    host: nullable(Type.String()),
    share: nullable(Type.Object({ id: Type.String(), name: nullable(Type.String()) })),
  }),
  from: Type.String(),
  to: Type.String(),
  state: Type.Union(movementStates.map((state) => Type.Literal(state))),
  percent: Type.Number({ minimum: 0, maximum: 100 }),
  /** Why it failed, or needs attention. */
  reason: nullable(Type.String()),
  cutover_window: Type.Integer(),
  cutover_action: Type.String(),
  /** `held`: live images stay in sync and do not cut over. */
  cutover: Type.Union((['automatic', 'held', 'triggered'] as const).map((cutover) => Type.Literal(cutover))),
  /** Null: nothing is known of it (any more). */
  progress: nullable(
    Type.Object({
      done_bytes: bytes,
      total_bytes: bytes,
      rate_bytes_per_second: Type.Number({ minimum: 0 }),
      eta_seconds: nullable(Type.Number({ minimum: 0 })),
      images: ImageCounts,
      longest_client_pause_ms: nullable(Type.Number({ minimum: 0 })),
      /** The latest first. */
      issues: Type.Array(Type.Object({ at: Type.String(), image: Type.String(), reason: Type.String() })),
    }),
  ),
  started_at: Type.String(),
  ended_at: nullable(Type.String()),
})
export type Move = Omit<Static<typeof Move>, 'state' | 'cutover'> & {
  state: MovementState
  cutover: 'automatic' | 'held' | 'triggered'
}

/** `GET /ndo/v1/moves`, newest first. */
export const MoveListQuery = Type.Object(
  {
    /** A FlexVol's id. */
    flexvol: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
  },
  { additionalProperties: false },
)
export type MoveListQuery = Static<typeof MoveListQuery>

export interface MoveList {
  moves: Move[]
}

/** `GET /ndo/v1/moves/{id}`. */
export interface MoveDocument {
  move: Move
  images: MoveImage[]
}

export interface MoveStarted {
  operation: Operation
}

export interface MovePlanned {
  plan: MovePlan
}
