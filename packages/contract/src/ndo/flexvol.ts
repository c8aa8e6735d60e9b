import { Type, type Static } from 'typebox'

/** Wire shapes of `/ndo/v1/flexvols`, for administrators. Sizes are bytes. */

const nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const bytes = Type.Integer({ minimum: 0 })
const count = Type.Integer({ minimum: 0 })
const name = Type.String({ minLength: 1, maxLength: 255 })

/** ONTAP's words for how far a move is, and one of ours: `bringing-back`, of one that was given up. */
export const movementStates = [
  'queued',
  'replicating',
  'paused',
  'cutover_wait',
  'cutover_pending',
  'cutover',
  'bringing-back',
  'success',
  'failed',
  'aborted',
] as const
export type MovementState = (typeof movementStates)[number]

export const FlexVol = Type.Object({
  id: Type.String(),
  cluster: Type.String(),
  /** Unique in its cluster. */
  name: Type.String(),
  /** The pool, `HOST@BACKEND#LIF:/junction`. It never changes, wherever the FlexVol is. Null: a share's, which is no pool. */
  host: nullable(Type.String()),
  /** The share that it is, alone; null: it is a pool of volumes. */
  share: nullable(
    Type.Object({
      id: Type.String(),
      name: nullable(Type.String()),
      /** What clients mount; it never changes, either. */
      export_location: Type.String(),
    }),
  ),
  node: Type.String(),
  aggregate: Type.String(),
  /** What its images may occupy; null: as much as the aggregate has. */
  size_bytes: nullable(bytes),
  /** What its images occupy, shared blocks once; null: its node does not answer. */
  used_bytes: nullable(bytes),
  volumes: count,
  snapshots: count,
  /** The move under way; null: it is not moving. */
  move: nullable(
    Type.Object({
      id: Type.String(),
      state: Type.Union(movementStates.map((state) => Type.Literal(state))),
      percent: Type.Number({ minimum: 0, maximum: 100 }),
      /** `AGGREGATE@NODE`. */
      to: Type.String(),
    }),
  ),
})
/** A FlexVol, which is a pool of volumes, or a share; and where it is. */
export type FlexVol = Omit<Static<typeof FlexVol>, 'move'> & {
  move: { id: string; state: MovementState; percent: number; to: string } | null
}

/** `GET /ndo/v1/flexvols`. */
export interface FlexVolList {
  flexvols: FlexVol[]
}

export interface FlexVolDocument {
  flexvol: FlexVol
}

/** `POST /ndo/v1/flexvols`: 202 with `{operation}`. */
export const FlexVolRequest = Type.Object(
  {
    cluster: name,
    name,
    /** By name. */
    aggregate: name,
    /** The address in its pool's name. Absent: the one of the cluster's other FlexVols. */
    lif: Type.Optional(name),
    /** Absent: `/NAME`. */
    junction_path: Type.Optional(Type.String({ pattern: '^/', maxLength: 255 })),
    size_bytes: Type.Optional(Type.Integer({ minimum: 1 })),
  },
  { additionalProperties: false },
)
export type FlexVolRequest = Static<typeof FlexVolRequest>

/** `POST /ndo/v1/flexvols/{id}/resize`: 200 with `{flexvol}`. Bytes; null: as much as the aggregate has. */
export const FlexVolResizeRequest = Type.Object(
  { size_bytes: nullable(Type.Integer({ minimum: 1 })) },
  { additionalProperties: false },
)
export type FlexVolResizeRequest = Static<typeof FlexVolResizeRequest>
