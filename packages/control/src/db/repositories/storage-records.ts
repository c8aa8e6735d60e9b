import type { Kysely } from 'kysely'
import type { Clock } from '../../ports/clock.ts'
import type { Database } from '../schema.ts'
import { attachmentRecords } from './attachment.ts'
import { copyRecords } from './copy.ts'
import { flexVolMoveRecords } from './flexvol-move.ts'
import { flexVolRecords } from './flexvol.ts'
import { shareGround } from './share-ground.ts'
import { shareRecords } from './share.ts'
import { snapshotRecords } from './snapshot.ts'
import { volumeRecords } from './volume.ts'

/** What operations on storage read and write. */
export const storageRecords = (db: Kysely<Database>, clock: Clock) => ({
  volumes: volumeRecords(db, clock),
  copies: copyRecords(db),
  attachments: attachmentRecords(db),
  flexvols: flexVolRecords(db),
  snapshots: snapshotRecords(db),
  moves: flexVolMoveRecords(db),
  shares: shareRecords(db, clock),
  ground: shareGround(db),
})
