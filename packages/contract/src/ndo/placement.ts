import { Type, type Static } from 'typebox'

const nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])

/**
 * `GET /ndo/v1/volumes/{id}/placement`, for administrators: where the volume's truth lies. Null where the
 * volume has no image (yet) or is attached to no server.
 */
export const VolumePlacement = Type.Object({
  volume_id: Type.String(),
  /** What the guest sees as the disk's serial: the first 20 characters of the volume's id. */
  serial: Type.String(),
  host: nullable(Type.String()),
  image_id: nullable(Type.String()),
  /** The image's absolute path on the node's machine. */
  path: nullable(Type.String()),
  cluster: nullable(Type.String()),
  node: nullable(Type.String()),
  machine: nullable(Type.String()),
  aggregate: nullable(Type.String()),
  size_bytes: nullable(Type.Integer({ minimum: 0 })),
  allocated_bytes: nullable(Type.Integer({ minimum: 0 })),
  server_id: nullable(Type.String()),
  compute_host: nullable(Type.String()),
  /** The server's whole serial console, absolute path on the compute host's machine. */
  console_log_path: nullable(Type.String()),
})
export type VolumePlacement = Static<typeof VolumePlacement>

export interface VolumePlacementDocument {
  placement: VolumePlacement
}
