import type { Operation } from '@volant/saga'
import { attachVolume } from './attach-volume.ts'
import { createAggregate } from './create-aggregate.ts'
import { createFlexVol } from './create-flexvol.ts'
import { createSnapshot } from './create-snapshot.ts'
import { createServer } from './create-server.ts'
import { createVolume } from './create-volume.ts'
import { deleteAggregate } from './delete-aggregate.ts'
import { deleteFlexVol } from './delete-flexvol.ts'
import { deleteSnapshot } from './delete-snapshot.ts'
import { deleteServer } from './delete-server.ts'
import { deleteVolume } from './delete-volume.ts'
import { detachVolume } from './detach-volume.ts'
import { extendVolume } from './extend-volume.ts'
import { migrateVolume } from './migrate-volume.ts'
import { moveFlexVol } from './move-flexvol.ts'
import { pauseServer } from './pause-server.ts'
import { rebootServer } from './reboot-server.ts'
import { relocateImage } from './relocate-image.ts'
import { relocateVolume } from './relocate-volume.ts'
import { renameFlexVol } from './rename-flexvol.ts'
import { revertMigration } from './revert-migration.ts'
import { revertVolume } from './revert-volume.ts'
import { startServer } from './start-server.ts'
import { stopServer } from './stop-server.ts'
import { vacateAggregate } from './vacate-aggregate.ts'

/**
 * Every operation that this release can carry out, old versions included. A database with an unfinished one that is
 * not here is refused, before anything is written.
 */
export const declaredOperations: readonly Operation<never, never>[] = [
  attachVolume,
  createAggregate,
  createFlexVol,
  createServer,
  createSnapshot,
  createVolume,
  deleteAggregate,
  deleteFlexVol,
  deleteServer,
  deleteSnapshot,
  deleteVolume,
  detachVolume,
  extendVolume,
  migrateVolume,
  moveFlexVol,
  pauseServer,
  rebootServer,
  relocateImage,
  relocateVolume,
  renameFlexVol,
  revertMigration,
  revertVolume,
  startServer,
  stopServer,
  vacateAggregate,
] as unknown as readonly Operation<never, never>[]
