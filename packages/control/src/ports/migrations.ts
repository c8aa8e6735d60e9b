import type { Principal } from '../domain/principal.ts'

/** Starts and stops the move of a volume to another pool; the Block Storage API's way to it. */
export interface MigrationStarter {
  /**
   * Checks every precondition, and only then records the operation. Throws `invalid`, `notFound`, `conflict` or
   * `noCapacity` with the reason; nothing is changed then.
   */
  startMigration(request: {
    principal: Principal
    volumeId: string
    /** `HOST@BACKEND#POOL`, as the client sent it. */
    host: string
    forceHostCopy: boolean
    /** A detached volume stands in `maintenance` meanwhile. No effect on an attached one, as in Cinder. */
    lockVolume: boolean
  }): Promise<{ operationId: string }>
  /**
   * Asks the volume's migration to stop. Does nothing where none runs; throws `conflict` with the reason where
   * it is past its point of no return.
   */
  cancelMigration(volumeId: string): Promise<void>
}
