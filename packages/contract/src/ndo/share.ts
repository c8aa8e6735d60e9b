import { Type, type Static } from 'typebox'
import { movementStates, type MovementState } from './flexvol.ts'

/**
 * Wire shapes of `/ndo/v1/shares`, for administrators: shares of all projects, who has them mounted, and what serves
 * them. A share's move is its FlexVol's: `POST /ndo/v1/moves`. Sizes are bytes.
 */

const text = Type.String()
const nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const bytes = Type.Integer({ minimum: 0 })
const count = Type.Integer({ minimum: 0 })

export const Share = Type.Object({
  id: text,
  name: nullable(text),
  project_id: text,
  cluster: text,
  /** `HOST@BACKEND#AGGREGATE`, where it is now; null until it was placed. */
  host: nullable(text),
  /** The storage node whose NFS server serves it; null until it was placed. */
  node: nullable(text),
  /** The FlexVol that is its own; null until it was placed. */
  flexvol: nullable(Type.Object({ id: text, name: text })),
  /** `LIF:/junction`, what clients mount: the same in its whole life. Null until it was placed. */
  export_location: nullable(text),
  /** As Manila's. */
  status: text,
  task_state: nullable(text),
  access_rules_status: text,
  /** Of the file system. */
  size_bytes: bytes,
  /** What clients have written; null: its node does not answer, or has no file system of it. */
  used_bytes: nullable(bytes),
  snapshots: count,
  /** Connected clients that have it mounted, as far as one can tell; null: its node does not answer. */
  clients: nullable(count),
  /** Clients can reach it now; null: its node does not answer, or it is not there yet. */
  is_served: nullable(Type.Boolean()),
  /** Why it is not served, and is being mended, or what its node says instead of an answer; null: all is well. */
  trouble: nullable(text),
  /** The move of its FlexVol under way; null: it is not moving. */
  move: nullable(
    Type.Object({
      id: text,
      state: Type.Union(movementStates.map((state) => Type.Literal(state))),
      percent: Type.Number({ minimum: 0, maximum: 100 }),
      /** `AGGREGATE@NODE`. */
      to: text,
    }),
  ),
  created_at: text,
})
export type Share = Omit<Static<typeof Share>, 'move'> & {
  move: { id: string; state: MovementState; percent: number; to: string } | null
}

/** A client that is connected to the share's NFS server. */
export const ShareMount = Type.Object({
  address: text,
  /** Of NFS, such as `4.1`; null where it can't be told. */
  version: nullable(text),
  /** What the share's rules give it; null: nothing any more. */
  access: nullable(Type.Union([Type.Literal('rw'), Type.Literal('ro')])),
  /**
   * It is known to use this share. False: it is connected, the rules admit it, and the server doesn't say which of its
   * exports it uses.
   */
  is_certain: Type.Boolean(),
  /** ISO 8601; null where it can't be told. */
  last_seen: nullable(text),
})
export type ShareMount = Omit<Static<typeof ShareMount>, 'access'> & { access: 'rw' | 'ro' | null }

export const ShareDetail = Type.Object({
  share: Share,
  /** Absolute, on the node; null: it is not mounted there. */
  mount_path: nullable(text),
  root_squash: Type.Boolean(),
  access_rules: Type.Array(Type.Object({ id: text, to: text, level: text, state: text })),
  snapshots: Type.Array(
    Type.Object({ id: text, name: nullable(text), status: text, created_at: text, method: nullable(text) }),
  ),
  mounts: Type.Array(ShareMount),
  /** Of its chain, from the server to the image, as far as they run. */
  processes: Type.Array(Type.Object({ what: text, pid: Type.Integer() })),
  /** The volume that is its content, and the image that is its truth. */
  volume_id: nullable(text),
  image_id: nullable(text),
})
export type ShareDetail = Omit<Static<typeof ShareDetail>, 'share' | 'mounts'> & {
  share: Share
  mounts: ShareMount[]
}

/** `GET /ndo/v1/shares`, oldest first. */
export interface ShareList {
  shares: Share[]
}
