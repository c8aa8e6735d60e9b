import type { Operation } from '@volant/saga'
import { applyShareAccess } from './apply-share-access.ts'
import { applySnapshotAccess } from './apply-snapshot-access.ts'
import { attachVolume } from './attach-volume.ts'
import { confirmResize } from './confirm-resize.ts'
import { createAggregate } from './create-aggregate.ts'
import { createFlexVol } from './create-flexvol.ts'
import { createServer } from './create-server.ts'
import { createShare } from './create-share.ts'
import { createSnapshot } from './create-snapshot.ts'
import { createVolume } from './create-volume.ts'
import { deleteAggregate } from './delete-aggregate.ts'
import { deleteFlexVol } from './delete-flexvol.ts'
import { deleteServer } from './delete-server.ts'
import { deleteShare } from './delete-share.ts'
import { deleteSnapshot } from './delete-snapshot.ts'
import { deleteVolume } from './delete-volume.ts'
import { detachVolume } from './detach-volume.ts'
import { drainHost } from './drain-host.ts'
import { evacuateHost } from './evacuate-host.ts'
import { evacuateServer } from './evacuate-server.ts'
import { extendShare } from './extend-share.ts'
import { extendVolume } from './extend-volume.ts'
import { liveMigrateServer } from './live-migrate-server.ts'
import { migrateShare } from './migrate-share.ts'
import { migrateVolume } from './migrate-volume.ts'
import { moveFlexVol } from './move-flexvol.ts'
import { pauseServer } from './pause-server.ts'
import { rebootServer } from './reboot-server.ts'
import { relocateImage } from './relocate-image.ts'
import { relocateVolume } from './relocate-volume.ts'
import { renameFlexVol } from './rename-flexvol.ts'
import { resizeServer } from './resize-server.ts'
import { restoreHost } from './restore-host.ts'
import { revertMigration } from './revert-migration.ts'
import { revertResize } from './revert-resize.ts'
import { revertShare } from './revert-share.ts'
import { revertVolume } from './revert-volume.ts'
import { startServer } from './start-server.ts'
import { stopServer } from './stop-server.ts'
import { takeOverServer } from './take-over-server.ts'
import { vacateAggregate } from './vacate-aggregate.ts'

/**
 * Every operation that this release can carry out, old versions included. A database with an unfinished one that is
 * not here is refused, before anything is written.
 */
export const declaredOperations: readonly Operation<never, never>[] = [
  applyShareAccess,
  applySnapshotAccess,
  attachVolume,
  confirmResize,
  createAggregate,
  createFlexVol,
  createServer,
  createShare,
  createSnapshot,
  createVolume,
  deleteAggregate,
  deleteFlexVol,
  deleteServer,
  deleteShare,
  deleteSnapshot,
  deleteVolume,
  detachVolume,
  drainHost,
  evacuateHost,
  evacuateServer,
  extendShare,
  extendVolume,
  liveMigrateServer,
  migrateShare,
  migrateVolume,
  moveFlexVol,
  pauseServer,
  rebootServer,
  relocateImage,
  relocateVolume,
  renameFlexVol,
  resizeServer,
  restoreHost,
  revertMigration,
  revertResize,
  revertShare,
  revertVolume,
  startServer,
  stopServer,
  takeOverServer,
  vacateAggregate,
] as unknown as readonly Operation<never, never>[]
