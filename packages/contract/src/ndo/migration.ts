import { Type, type Static } from 'typebox'
import type { Operation } from './operation.ts'
import { paceFields, Rate } from './operation.ts'

/**
 * `POST /ndo/v1/migrations`. With `dry_run` it answers 200 with a `MigrationPlan` and changes nothing, even
 * where a check fails; without it 202 with `{operation}`, or the error of the first check that fails.
 */
export const MigrationRequest = Type.Object(
  {
    /** The volume's id; or, instead of it, `server`. */
    volume: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
    /** The id of a server whose root disk, a hidden volume, is to go. */
    server: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
    /** The pool to go to, `HOST@BACKEND#POOL`. */
    host: Type.String({ minLength: 1, maxLength: 1024 }),
    dry_run: Type.Optional(Type.Boolean()),
    /** Bytes per second; 0 is unlimited; absent: the configured default. */
    rate: Type.Optional(Rate),
    ...paceFields,
  },
  { additionalProperties: false },
)
export type MigrationRequest = Static<typeof MigrationRequest>

/** One precondition. Every one is listed, also those that hold. */
export const PlanCheck = Type.Object({
  /** For example `target-has-room`. */
  name: Type.String(),
  ok: Type.Boolean(),
  /** What was found; where it is not ok, also what would be right. */
  reason: Type.String(),
})
export type PlanCheck = Static<typeof PlanCheck>

export const MigrationPlan = Type.Object({
  /** All checks hold: the same request without `dry_run` would start. */
  ok: Type.Boolean(),
  volume: Type.Object({ id: Type.String(), name: Type.Union([Type.String(), Type.Null()]) }),
  source: Type.Union([Type.String(), Type.Null()]),
  target: Type.String(),
  checks: Type.Array(PlanCheck),
  /** Null where it cannot be told, for example for an unknown pool. */
  estimate: Type.Union([
    Type.Object({
      /** What is allocated at the source: what will be moved. */
      bytes: Type.Integer({ minimum: 0 }),
      seconds: Type.Number({ minimum: 0 }),
      /** Bytes per second that `seconds` is reckoned with. */
      rate: Type.Number({ minimum: 0 }),
    }),
    Type.Null(),
  ]),
  /** The declared steps in their order. */
  steps: Type.Array(Type.String()),
})
export type MigrationPlan = Static<typeof MigrationPlan>

export interface MigrationStarted {
  operation: Operation
}

export interface MigrationPlanned {
  plan: MigrationPlan
}
