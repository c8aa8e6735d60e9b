import { Type, type Static } from 'typebox'

/** `/ndo/v1/sweep`, for administrators: what exists in the data plane and no record owns. */

const text = Type.String()
const nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])

/**
 * `removed`: it carried a proof, and is gone. `would be removed`: the same, in a dry run. `reported`: nothing proves that it
 * is Volant's and finished, so it was left alone. `failed`: it carries a proof, but could not be removed; tried again.
 */
export const strayActions = ['removed', 'would be removed', 'reported', 'failed'] as const
export type StrayAction = (typeof strayActions)[number]

export const Stray = Type.Object({
  /** image, image-part, export, holder, mirror, register, guest, aggregate, file-system, nfs-server, remains, process, file, reservation. */
  kind: text,
  /** `storage node lma-01`, `machine h1`, `compute host compute-1`, `database`. */
  place: text,
  /** Its id among its kind there. */
  id: text,
  /** For a person: a path, a process. */
  what: text,
  age_seconds: Type.Number({ minimum: 0 }),
  size_bytes: Type.Number({ minimum: 0 }),
  pids: Type.Array(Type.Integer()),
  /** Why it is a stray. */
  reason: text,
  /** Why it may be removed; null: there is no proof. */
  proof: nullable(text),
  action: Type.Union(strayActions.map((action) => Type.Literal(action))),
  /** What an operator can do; where it failed, why. Null where there is nothing to do. */
  advice: nullable(text),
})
export type Stray = Omit<Static<typeof Stray>, 'action'> & { action: StrayAction }

export const SweepReport = Type.Object({
  started_at: text,
  finished_at: text,
  dry_run: Type.Boolean(),
  /** How many things were looked at; how many of them a record owns, and how many may be in somebody's hands. */
  examined: Type.Integer({ minimum: 0 }),
  owned: Type.Integer({ minimum: 0 }),
  busy: Type.Integer({ minimum: 0 }),
  strays: Type.Array(Stray),
  /** Places that did not answer: what is there was not looked at. */
  unreachable: Type.Array(Type.Object({ place: text, reason: text })),
})
export type SweepReport = Omit<Static<typeof SweepReport>, 'strays'> & { strays: Stray[] }

/** `GET /ndo/v1/sweep`: the last pass, null before the first. `POST`: one pass now. */
export interface SweepDocument {
  sweep: SweepReport | null
}

export const SweepRequest = Type.Object(
  {
    dry_run: Type.Optional(Type.Boolean()),
    /** With `dry_run` alone: how young a thing is left out. Seconds; 30. 0 tells of what is on its way, too. */
    grace_seconds: Type.Optional(Type.Integer({ minimum: 0, maximum: 86_400 })),
  },
  { additionalProperties: false },
)
export type SweepRequest = Static<typeof SweepRequest>

/** Strays that are still there after the pass. */
export const straysLeft = ({ strays }: Pick<SweepReport, 'strays'>): number =>
  strays.filter(({ action }) => action !== 'removed').length
