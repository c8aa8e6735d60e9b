import { Type, type Static } from 'typebox'
import { paceFields, Rate, type Operation } from './operation.ts'

/** Wire shapes of `/ndo/v1/vacates`: an aggregate, or all aggregates of a storage node, is emptied. */

const nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const bytes = Type.Integer({ minimum: 0 })
const name = Type.String({ minLength: 1, maxLength: 255 })

/**
 * `POST /ndo/v1/vacates`. With `dry_run` it answers 200 with `{plan}` and changes nothing; without it 202 with
 * `{operation, plan}`: what can move moves. Refused (409) where nothing can,
 * though something should.
 */
export const VacateRequest = Type.Object(
  {
    cluster: name,
    /** One of the two. */
    aggregate: Type.Optional(name),
    node: Type.Optional(name),
    /** Where to; aggregates of the cluster, by name. Absent: any other. */
    to: Type.Optional(Type.Array(name, { minItems: 1, maxItems: 100 })),
    dry_run: Type.Optional(Type.Boolean()),
    /** Of each move, in bytes per second; 0: unlimited; absent: the configured default. */
    rate: Type.Optional(Rate),
    ...paceFields,
  },
  { additionalProperties: false },
)
export type VacateRequest = Static<typeof VacateRequest>

export const VacatePlan = Type.Object({
  /** Everything can move. */
  ok: Type.Boolean(),
  /** What is emptied, `AGGREGATE@NODE`. */
  aggregates: Type.Array(Type.String()),
  /** In the order in which they begin. */
  moves: Type.Array(
    Type.Object({
      flexvol: Type.Object({ id: Type.String(), name: Type.String() }),
      from: Type.String(),
      to: Type.String(),
      bytes,
      seconds: Type.Number({ minimum: 0 }),
      /** It is on its way already, by this operation. */
      under_way: nullable(Type.String()),
    }),
  ),
  /** What stays, and why. */
  stuck: Type.Array(
    Type.Object({
      flexvol: Type.Object({ id: Type.String(), name: Type.String() }),
      from: Type.String(),
      bytes,
      reason: Type.String(),
    }),
  ),
  /** Images that earlier migrations have left, read-only; they go by themselves. */
  retained: Type.Array(
    Type.Object({
      flexvol: Type.String(),
      aggregate: Type.String(),
      images: Type.Integer({ minimum: 1 }),
      /** When the last of them goes. */
      until: nullable(Type.String()),
    }),
  ),
  /** Where there is room, after the plan. */
  targets: Type.Array(Type.Object({ aggregate: Type.String(), free_bytes: bytes, free_after_bytes: bytes })),
  estimate: Type.Object({
    bytes,
    seconds: Type.Number({ minimum: 0 }),
    /** Bytes per second that `seconds` is reckoned with. */
    rate: Type.Number({ minimum: 0 }),
  }),
})
export type VacatePlan = Static<typeof VacatePlan>

export interface VacateStarted {
  operation: Operation
  plan: VacatePlan
}

export interface VacatePlanned {
  plan: VacatePlan
}
