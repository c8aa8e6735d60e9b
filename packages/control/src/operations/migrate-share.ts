/**
 * # A share moves to another aggregate of its cluster
 *
 * Its FlexVol moves (`move-flexvol.ts`), as a part of this operation, which follows it and keeps Manila's records of it:
 *
 *     claimShare → chooseMove → [moved] → RECORD
 *
 *     migration_driver_starting → migration_driver_in_progress → migration_driver_phase1_done   all is in sync, and held
 *       ── the application triggers the cutover ──▶ migration_completing → migration_success
 *
 * It does not hold the share's own key: rules change, and the share grows, while it lasts.
 */
import { isDomainError } from '@volant/contract'
import { final, hasEnded, nothingToUndo, operation, type RunRecord, type CopyControl } from '@volant/saga'
import type { FlexVolMoveProgress } from '../domain/flexvol-move.ts'
import { percentCopied, taskStateOf, type ShareMigrationProgress } from '../domain/share-migration.ts'
import { shareMessageEvents } from '../domain/share-message.ts'
import { abilitiesOf } from '../domain/share-type.ts'
import { migratingTaskStates } from '../domain/share.ts'
import type { AggregatePlace } from '../domain/volume.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { FlexVolMoveRecords } from '../ports/records.ts'
import type { ShareRecords, ShareTypeRecords } from '../ports/shares.ts'
import { moveFlexVol, newMove, type MoveFlexVolInput } from './move-flexvol.ts'
import { bringToParts, startWishes, unlessOver, type PartsEngine } from './part-wishes.ts'
import { clearShareFailure, noteShareFailure, shareMessage, type ShareFailureNotes } from './share-failure.ts'

export interface MigrateShareInput {
  /** Its status is `migrating`, its task state `migration_starting`. */
  shareId: string
  flexvolId: string
  from: AggregatePlace
  to: AggregatePlace
  /** What the share will be of; null: as it was. */
  shareTypeId: string | null
  projectId: string
  requestId: string
  /** As the plan of the FlexVol's move says. */
  move: Pick<MoveFlexVolInput, 'shares' | 'estimateBytes' | 'cutoverWindowSeconds' | 'retentionSeconds'>
}

export interface MigrateSharePorts extends ShareFailureNotes {
  shares: Pick<ShareRecords, 'find' | 'get' | 'update' | 'updateIf'>
  shareTypes: Pick<ShareTypeRecords, 'find'>
  moves: Pick<FlexVolMoveRecords, 'find' | 'create'>
  engine: Pick<OperationEngine, 'start' | 'get' | 'partsOf'> & PartsEngine
  /** Milliseconds, from a clock that does not jump. */
  monotonic(): number
}

const failed = shareMessageEvents.migrationFailed

export const migrateShare = operation<MigrateShareInput, MigrateSharePorts>('share.migrate', { version: 1 })
  .holds(({ shareId }) => [`share-migration/${shareId}`])

  // The request has claimed the share. What is undone here is that claim, by how its move has ended.
  .step('claimShare', {
    do: async ({ input, ports }) => {
      await noteTaskState(ports, input.shareId, 'migration_driver_starting')
      return null
    },
    undo: async ({ op, input, ports, now }) => {
      const [part] = await ports.engine.partsOf(op.id)
      // Its last image had cut over when it was to be given up.
      if (part?.state === 'succeeded') return recordSuccess(ports, input)
      const cancelled = op.control.cancelRequested || part?.state === 'cancelled'
      await ports.shares.updateIf(
        input.shareId,
        { status: ['migrating'] },
        { status: 'available', taskState: cancelled ? 'migration_cancelled' : 'migration_error' },
      )
      const reason = reasonOf(part)
      // Why it could not begin was told where it was seen.
      if (cancelled || reason === null) return
      await ports.shareMessages.put(shareMessage(op, input, failed, now(), reason))
    },
  })

  .step('chooseMove', {
    do: () => ({ moveId: crypto.randomUUID() }),
    undo: nothingToUndo,
  })

  .wait('moved', {
    every: '500ms',
    // The move has bounds of its own; held, it lasts as long as somebody thinks.
    stallTimeout: '1h',
    until: async ({ op, input, out, ports, now }) => {
      const part = await noteShareFailure(ports, op, input, failed, now(), () =>
        ensurePart(ports, op, input, out.chooseMove.moveId),
      )
      if (hasEnded(part.state)) {
        if (part.state !== 'succeeded') throw final(reasonOf(part) ?? 'The move of the share was given up.')
        return { done: true, progress: progressOf(part), advance: null }
      }
      await bringToParts(ports.engine, [part], op.control)
      const { progress } = part as { progress: FlexVolMoveProgress | null }
      await noteTaskState(ports, input.shareId, taskStateOf(await ports.moves.find(part.id), progress))
      return { done: false, progress: progressOf(part), advance: ports.monotonic() }
    },
    back: {
      every: '500ms',
      stallTimeout: '1h',
      until: async ({ out, ports }) => {
        const part = await partOf(ports, out.chooseMove.moveId)
        if (part === undefined || hasEnded(part.state)) return { done: true, advance: null }
        if (!part.control.cancelRequested) await unlessOver(() => ports.engine.cancel(part.id))
        return { done: false, progress: progressOf(part), advance: ports.monotonic() }
      },
    },
  })

  .commit('record', {
    do: async ({ op, input, ports }) => {
      await recordSuccess(ports, input)
      await clearShareFailure(ports, op)
      return null
    },
    happened: async ({ input, ports }) => {
      const { status, taskState } = await ports.shares.get(input.shareId)
      return status !== 'migrating' && taskState === 'migration_success'
    },
  })

async function partOf({ engine }: MigrateSharePorts, moveId: string): Promise<RunRecord | undefined> {
  try {
    return await engine.get(moveId)
  } catch (error) {
    if (isDomainError(error) && error.code === 'notFound') return undefined
    throw error
  }
}

async function ensurePart(
  ports: MigrateSharePorts,
  op: { id: string; control: Readonly<CopyControl> },
  { flexvolId, from, to, move }: MigrateShareInput,
  moveId: string,
): Promise<RunRecord> {
  const input: MoveFlexVolInput = { flexvolId, from, to, ...move, cutoverAction: 'wait' }
  if ((await partOf(ports, moveId)) === undefined) {
    await ports.engine.start(moveFlexVol, input, { id: moveId, parent: op.id, ...startWishes(op.control) })
  }
  const part = await ports.engine.get(moveId)
  // A wish may come at once, and it goes by the record.
  if ((await ports.moves.find(moveId)) === undefined) {
    await ports.moves.create(newMove(moveId, input, part.createdAt))
  }
  return part
}

/** Only changes are written; and nothing of a migration that somebody has reset meanwhile. */
async function noteTaskState(
  { shares }: MigrateSharePorts,
  shareId: string,
  taskState: (typeof migratingTaskStates)[number],
): Promise<void> {
  const share = await shares.find(shareId)
  if (share === undefined || share.taskState === taskState) return
  await shares.updateIf(shareId, { status: ['migrating'] }, { taskState })
}

async function recordSuccess(ports: MigrateSharePorts, input: MigrateShareInput): Promise<void> {
  const type = input.shareTypeId === null ? undefined : await ports.shareTypes.find(input.shareTypeId)
  await ports.shares.update(input.shareId, {
    status: 'available',
    taskState: 'migration_success',
    ...(type !== undefined && { shareTypeId: type.id, ...abilitiesOf(type) }),
  })
}

const reasonOf = (part: RunRecord | undefined): string | null => part?.failure?.message ?? null

function progressOf(part: RunRecord): ShareMigrationProgress | null {
  const progress = part.progress as FlexVolMoveProgress | null
  return progress === null ? null : { ...progress, percent: percentCopied(progress), moveId: part.id }
}
