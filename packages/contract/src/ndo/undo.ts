import { Type, type Static } from 'typebox'
import { PlanCheck } from './migration.ts'
import { paceFields, type Operation } from './operation.ts'

const nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])

/**
 * `POST /ndo/v1/operations/{id}/undo`; the body may be absent. With `dry_run` it answers 200 with an `UndoPlan` and
 * changes nothing, also where it would be refused; without it 202 with `{operation, plan}`, or the error.
 */
export const UndoRequest = Type.Object(
  {
    dry_run: Type.Optional(Type.Boolean()),
    /** Where the volume migrates back. */
    ...paceFields,
  },
  { additionalProperties: false },
)
export type UndoRequest = Static<typeof UndoRequest>

/**
 * - `cancel`  the operation has not passed its point of no return: what it did is undone backwards
 * - `revert`  the volume's former image, kept, becomes its truth again; nothing is copied
 * - `migrate` the volume migrates back, with every write since
 */
export const undoMethods = ['cancel', 'revert', 'migrate'] as const
export type UndoMethod = (typeof undoMethods)[number]

export const UndoPlan = Type.Object({
  /** The same request without `dry_run` would start. */
  ok: Type.Boolean(),
  /** The operation to undo. */
  operation: Type.String(),
  /** Null where it would be refused before a way is chosen. */
  method: nullable(Type.Union(undoMethods.map((method) => Type.Literal(method)))),
  /** Why in this way; where it is not ok, why not, and what would be right. */
  reason: Type.String(),
  /** ISO 8601: how long it can be undone; null where no time is set. */
  until: nullable(Type.String()),
  volume: nullable(Type.Object({ id: Type.String(), name: nullable(Type.String()) })),
  /** Host strings: where the volume is, and where it would be. */
  source: nullable(Type.String()),
  target: nullable(Type.String()),
  /** Preconditions. */
  checks: Type.Array(PlanCheck),
  /** What speaks for a `revert`: only where all of it holds, nobody can have written since. */
  proof: Type.Array(PlanCheck),
  /** What would be copied. */
  estimate: nullable(
    Type.Object({
      bytes: Type.Integer({ minimum: 0 }),
      seconds: Type.Number({ minimum: 0 }),
      /** Bytes per second that `seconds` is reckoned with. */
      rate: Type.Number({ minimum: 0 }),
    }),
  ),
  /** The steps of the operation that would be started; empty for `cancel`. */
  steps: Type.Array(Type.String()),
})
export type UndoPlan = Omit<Static<typeof UndoPlan>, 'method'> & { method: UndoMethod | null }

export interface UndoStarted {
  /** The operation that undoes; for `cancel` the undone one itself. */
  operation: Operation
  plan: UndoPlan
}

export interface UndoPlanned {
  plan: UndoPlan
}
