import type { FlexVolMove, FlexVolMoveProgress } from './flexvol-move.ts'
import type { ShareTaskState } from './share.ts'

/** The progress of the operation `share.migrate`: that of the move which it has started. */
export interface ShareMigrationProgress extends FlexVolMoveProgress {
  /** 0 to 100; 100 only where all is copied. */
  percent: number
  moveId: string
}

/** As Manila's `total_progress`. */
export function percentCopied({ images, doneBytes, totalBytes }: FlexVolMoveProgress): number {
  if (images.total > 0 && images.moved + images.inSync === images.total) return 100
  if (totalBytes <= 0) return 0
  return Math.max(0, Math.min(99, Math.floor((doneBytes / totalBytes) * 100)))
}

/** Where a migration under way is, by what its move shows. */
export function taskStateOf(
  move: Pick<FlexVolMove, 'cutover'> | undefined,
  progress: FlexVolMoveProgress | null,
): ShareTaskState {
  if (move !== undefined && move.cutover !== 'held') return 'migration_completing'
  if (progress === null || progress.phase === 'queued') return 'migration_driver_starting'
  return progress.phase === 'cutover_pending'
    ? 'migration_driver_phase1_done'
    : 'migration_driver_in_progress'
}
