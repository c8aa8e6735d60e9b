/** Moves of volumes and FlexVols: a part of the composition root. */
import { askedOnce } from '@volant/qemu/asked-once.ts'
import { probeCapabilities } from '@volant/qemu/capabilities.ts'
import { bind, type BoundOperation } from '@volant/saga'
import { createFlexVolMoves } from './app/flexvol-move.ts'
import type { VolantConfig } from './config/config.ts'
import { defaultConvergencePolicy, type Convergence } from './domain/convergence.ts'
import type { CopyProgress } from './domain/copy-progress.ts'
import { CutoverTurns } from './domain/cutover-turns.ts'
import type { MoveMemory } from './operations/move-facts.ts'
import { migrateVolume } from './operations/migrate-volume.ts'
import { moveFlexVol } from './operations/move-flexvol.ts'
import { relocateImage } from './operations/relocate-image.ts'
import { relocateVolume } from './operations/relocate-volume.ts'
import type { Agents } from './ports/agents.ts'
import type { Aggregates } from './ports/aggregates.ts'
import type { Backend } from './ports/backend.ts'
import type { Clock } from './ports/clock.ts'
import type { CopyPace } from './ports/copy-pace.ts'
import type { FlexVolMoves } from './ports/flexvol-moves.ts'
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

export interface MoveParts extends VolantConfig {
  records: {
    volumes: VolumeRecords
    copies: CopyRecords
    attachments: AttachmentRecords
    flexvols: FlexVolRecords
    snapshots: SnapshotRecords
    moves: FlexVolMoveRecords
  }
  backend: Backend
  agents: Agents
  aggregates: Aggregates
  places: Places
  pace: CopyPace
  engine: OperationEngine
  clock: Clock
}

export interface Moves {
  flexVolMoves: FlexVolMoves
  moveOperations: BoundOperation[]
  /** Why holders of this machine can't move images; empty: they can. */
  missingAbilities: (machine: string) => Promise<string[]>
}

export function createMoves(parts: MoveParts): Moves {
  const { records, settings } = parts
  const capabilities = askedOnce(probeCapabilities)
  // Now, so that the first migration need not wait for it.
  capabilities().catch(() => {})
  const missingAbilities = async () => (await capabilities()).missing
  const ports = {
    ...parts,
    ...records,
    policy: {
      ...defaultConvergencePolicy,
      floorBps: settings.migration.clientFloorBytesPerSecond,
      mostRaisedBps: settings.copy.catchUpBps,
    },
    // One process's memory: after a restart all of it is seen anew.
    convergence: new Map<string, Convergence>(),
    copying: new Map<string, CopyProgress>(),
    turns: new CutoverTurns(),
    moving: new Map<string, MoveMemory>(),
    monotonic: () => performance.now(),
  }
  return {
    flexVolMoves: createFlexVolMoves({
      ...ports,
      settings: {
        rate: settings.migration.rateBytesPerSecond,
        retentionSeconds: settings.migration.retentionSeconds,
      },
      missingAbilities,
    }),
    moveOperations: [
      bind(migrateVolume, ports),
      bind(moveFlexVol, ports),
      bind(relocateVolume, ports),
      bind(relocateImage, ports),
    ],
    missingAbilities,
  }
}
