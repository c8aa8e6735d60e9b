import type { RunRecord } from '@volant/saga'
import { isUnderWay, type FlexVolMove, type FlexVolMoveProgress } from '../domain/flexvol-move.ts'
import type { Movement } from '../ports/flexvol-moves.ts'

/** One that needs attention on its way back is known by its progress. */
export const isTurningBack = (run: RunRecord | undefined, progress: FlexVolMoveProgress | null): boolean =>
  run?.state === 'cancelling' || run?.state === 'unwinding' || progress?.phase === 'bringing-back'

/** What both APIs show: ONTAP's words. */
export function movementView(move: FlexVolMove, run: RunRecord | undefined): Movement {
  const progress = (run?.progress ?? null) as FlexVolMoveProgress | null
  const reason = run?.failure?.message ?? null
  if (!isUnderWay(move)) {
    const state = ({ succeeded: 'success', failed: 'failed', aborted: 'aborted' } as const)[
      move.state as 'succeeded' | 'failed' | 'aborted'
    ]
    const share = progress === null ? 0 : percentOf(progress)
    return { move, state, percentComplete: state === 'success' ? 100 : share, progress, reason }
  }
  return {
    move,
    state: stateOf(move, run, progress),
    percentComplete: progress === null ? 0 : percentOf(progress),
    progress,
    reason,
  }
}

/** 100 only after success; down to 0 while what has moved is brought back. */
const percentOf = ({ phase, doneBytes, totalBytes, images }: FlexVolMoveProgress): number => {
  const none = phase === 'bringing-back' ? 0 : 1
  const share =
    totalBytes > 0 ? doneBytes / totalBytes : images.total === 0 ? none : images.moved / images.total
  return Math.min(99, Math.floor(share * 100))
}

function stateOf(
  move: FlexVolMove,
  run: RunRecord | undefined,
  progress: FlexVolMoveProgress | null,
): Movement['state'] {
  if (run?.state === 'needs-attention') return 'failed'
  if (isTurningBack(run, progress)) return 'bringing-back'
  if (run?.control.paused === true) return 'paused'
  if (run?.step === 'arrive' || ['settleCopies', 'leaveSource', 'finish'].includes(run?.step ?? '')) {
    return 'cutover'
  }
  switch (progress?.phase) {
    case 'cutover_pending':
      return 'cutover_pending'
    case 'cutover':
      return move.cutover === 'held' ? 'cutover_wait' : 'cutover'
    case 'paused':
      return 'paused'
    case 'replicating':
    case 'bringing-back':
      return 'replicating'
    case 'queued':
    case undefined:
      return 'queued'
  }
}
