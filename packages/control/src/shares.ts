/** Shares: a part of the composition root. */
import type { Caller } from '@volant/contract'
import { bind, type BoundOperation } from '@volant/saga'
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import { recoverShares } from './app/share-recovery.ts'
import { shareAccessRecords } from './db/repositories/share-access.ts'
import { shareLists } from './db/repositories/share-list.ts'
import { shareMessageRecords } from './db/repositories/share-message.ts'
import { shareTypeRecords } from './db/repositories/share-type.ts'
import { shownSnapshotRecords } from './db/repositories/shown-snapshot.ts'
import { snapshotAccessRecords } from './db/repositories/snapshot-access.ts'
import type { Database } from './db/schema.ts'
import type { CopyProgress } from './domain/copy-progress.ts'
import { ShareTurns } from './domain/share-turns.ts'
import type { Topology } from './domain/topology.ts'
import { applyShareAccess } from './operations/apply-share-access.ts'
import { applySnapshotAccess } from './operations/apply-snapshot-access.ts'
import { createShare } from './operations/create-share.ts'
import { deleteShare } from './operations/delete-share.ts'
import { extendShare } from './operations/extend-share.ts'
import { migrateShare } from './operations/migrate-share.ts'
import { revertShare } from './operations/revert-share.ts'
import { restoreShares } from './reconcile/shares.ts'
import { restoreShownSnapshots } from './reconcile/shown-snapshots.ts'
import type { Agents } from './ports/agents.ts'
import type { Backend } from './ports/backend.ts'
import type { Clock } from './ports/clock.ts'
import type { CopyPace } from './ports/copy-pace.ts'
import type { OperationEngine } from './ports/operations.ts'
import type { Places } from './ports/places.ts'
import type {
  AttachmentRecords,
  CopyRecords,
  FlexVolMoveRecords,
  FlexVolRecords,
  SnapshotRecords,
  VolumeRecords,
} from './ports/records.ts'

import type { ShareGround, ShareRecords } from './ports/shares.ts'

export interface ShareParts {
  db: Kysely<Database>
  records: {
    volumes: VolumeRecords
    copies: CopyRecords
    attachments: AttachmentRecords
    flexvols: FlexVolRecords
    snapshots: SnapshotRecords
    moves: FlexVolMoveRecords
    shares: ShareRecords
    ground: ShareGround
  }
  backend: Backend
  agents: Agents
  places: Places
  pace: CopyPace
  topology: Topology
  engine: OperationEngine
  clock: Clock
  log: Logger
}

export interface Shares {
  /** For the engine; they exist before it does. */
  operations: BoundOperation[]
  /** Brings back what should serve the shares and the snapshots that can be mounted; applies rules that are queued. */
  restore(caller: Caller, stopping?: AbortSignal): Promise<unknown>
  /** To be called when the engine has begun, before the first request, and later now and then. */
  recover(idleMs?: number): Promise<{ recovered: string[] }>
}

export function createShares(parts: ShareParts): Shares {
  const { db, clock, records } = parts
  const ports = {
    ...parts,
    ...records,
    accessRules: shareAccessRecords(db, clock),
    snapshotAccess: snapshotAccessRecords(db, clock),
    shown: shownSnapshotRecords(db),
    shareMessages: shareMessageRecords(db),
    shareLists: shareLists(db),
    shareTypes: shareTypeRecords(db),
    serving: new ShareTurns(),
    copying: new Map<string, CopyProgress>(),
    monotonic: () => performance.now(),
  }
  return {
    operations: [
      bind(createShare, ports),
      bind(deleteShare, ports),
      bind(extendShare, ports),
      bind(applyShareAccess, ports),
      bind(applySnapshotAccess, ports),
      bind(revertShare, ports),
      bind(migrateShare, ports),
    ],
    async restore(caller, stopping) {
      await restoreShares(ports, caller, stopping)
      if (stopping?.aborted !== true) await restoreShownSnapshots(ports)
    },
    recover: (idleMs) => recoverShares(ports, idleMs),
  }
}
