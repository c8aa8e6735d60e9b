import type { FlexVolMoveProgress } from './flexvol-move.ts'

/** The progress of the operation `aggregate.vacate`: of all its moves together. Bytes are of all images. */
export interface VacateProgress extends Omit<FlexVolMoveProgress, 'phase' | 'issues'> {
  phase: 'moving' | 'paused'
  /** `stuck`: they can't move, or their move has failed. */
  flexvols: { total: number; moved: number; moving: number; waiting: number; stuck: number }
  /** Why each of the stuck ones is, by the FlexVol's name. */
  stuck: { flexvol: string; reason: string }[]
}
