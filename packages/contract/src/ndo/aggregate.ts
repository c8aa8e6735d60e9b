import { Type, type Static } from 'typebox'

/** Wire shapes of `/ndo/v1/aggregates`, for administrators. Sizes are bytes, times ISO 8601. */

const nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const bytes = Type.Integer({ minimum: 0 })
const name = Type.String({ minLength: 1, maxLength: 255 })

export const Aggregate = Type.Object({
  cluster: Type.String(),
  /** Unique in its cluster. */
  name: Type.String(),
  node: Type.String(),
  /** Absolute, on the node's machine. */
  path: Type.String(),
  /** `unavailable`: its node does not answer; `reason` says why, and the figures are null. */
  state: Type.Union((['online', 'deleting', 'unavailable'] as const).map((state) => Type.Literal(state))),
  reason: nullable(Type.String()),
  filesystem: Type.Union([Type.Literal('folder'), Type.Literal('xfs')]),
  /** A snapshot or clone shares blocks with its source and is instant. */
  shares_blocks: nullable(Type.Boolean()),
  total_bytes: nullable(bytes),
  /** What images occupy, shared blocks once. */
  used_bytes: nullable(bytes),
  /** Held back for what migrations and moves have still to copy. */
  reserved_bytes: nullable(bytes),
  /** What can still be promised: reservations are taken off. */
  free_bytes: nullable(bytes),
  flexvols: Type.Array(
    Type.Object({
      id: Type.String(),
      name: Type.String(),
      /** `home`: it is here. `destination`: it moves here. `images`: some of its images are still here, or kept here. */
      role: Type.Union((['home', 'destination', 'images'] as const).map((role) => Type.Literal(role))),
      images: Type.Integer({ minimum: 0 }),
      /** Images kept for an undo, and until when the last of them is. */
      retained: Type.Integer({ minimum: 0 }),
      retained_until: nullable(Type.String()),
    }),
  ),
  /** In the configuration file; else it was made at run time and can be deleted. */
  configured: Type.Boolean(),
  /** The operation that empties it now: nothing new is placed there. */
  vacated_by: nullable(Type.String()),
})
export type Aggregate = Omit<Static<typeof Aggregate>, 'state' | 'flexvols'> & {
  state: 'online' | 'deleting' | 'unavailable'
  flexvols: (Omit<Static<typeof Aggregate>['flexvols'][number], 'role'> & {
    role: 'home' | 'destination' | 'images'
  })[]
}

/** `GET /ndo/v1/aggregates`. */
export interface AggregateList {
  aggregates: Aggregate[]
}

/** `POST /ndo/v1/aggregates`: 202 with `{operation}`. */
export const AggregateRequest = Type.Object(
  {
    cluster: name,
    /** Absent: the cluster's first. */
    node: Type.Optional(name),
    name,
    /** Absent: `xfs` where a size is given and the node can format and mount, else `folder`. */
    filesystem: Type.Optional(Type.Union([Type.Literal('folder'), Type.Literal('xfs')])),
    /** Of `xfs` the size, at least 512 MiB; of a folder its limit. */
    size_bytes: Type.Optional(Type.Integer({ minimum: 1 })),
  },
  { additionalProperties: false },
)
export type AggregateRequest = Static<typeof AggregateRequest>
