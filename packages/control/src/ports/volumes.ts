import type { Principal } from '../domain/principal.ts'
import type { Volume } from '../domain/volume.ts'

/** How a server's block-device mapping makes a volume. Returns while the volume is still `creating`. */
export interface VolumeCreator {
  createVolume(
    principal: Principal,
    request: {
      name: string | null
      description: string | null
      /** Null: the snapshot's. */
      sizeGib: number | null
      /** Absent, and no snapshot: an empty volume. */
      imageId?: string
      snapshotId?: string
      /** Id or name. */
      volumeType?: string
      availabilityZone?: string
    },
  ): Promise<Volume>
  /** The root disk of a server that boots from an image with data: a hidden volume, outside of every quota. */
  createRootDisk(
    principal: Principal,
    request: { serverId: string; imageId: string; sizeGib: number },
  ): Promise<Volume>
}

/** How the deletion of a server removes its volumes with `delete_on_termination`. */
export interface VolumeRemover {
  /**
   * Begins the deletion of a detached volume on behalf of the system. Does nothing where there is none, or where
   * its deletion is under way.
   */
  removeVolume(volumeId: string): Promise<void>
}
