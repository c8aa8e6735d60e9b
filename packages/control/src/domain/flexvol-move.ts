import type { AggregatePlace } from './volume.ts'

/** What to do when a live image's cutover has failed three times. As ONTAP's `volume move -cutover-action`. */
export const cutoverActions = [
  /** Go on with the others, and try again later, each time after a longer while, up to an hour. */
  'retry_on_failure',
  /** Give the move up and bring back what has moved. */
  'abort_on_failure',
  /** Hold all further cutovers until somebody triggers them. */
  'defer_on_failure',
  /** Hold the cutovers from the start until somebody triggers them. */
  'wait',
] as const
export type CutoverAction = (typeof cutoverActions)[number]

export const cutoverWindowSeconds = { least: 30, most: 300, usual: 30 } as const

/** Attempts at one image's cutover before `CutoverAction` says how to go on. */
export const cutoverAttempts = 3

/** One move of a FlexVol, from its start on. Its id is the operation's. Kept after its end: the latest is shown. */
export interface FlexVolMove {
  id: string
  flexvolId: string
  from: AggregatePlace
  to: AggregatePlace
  cutoverWindowSeconds: number
  cutoverAction: CutoverAction
  /** `held`: live images stay in sync with their copies and do not cut over. */
  cutover: 'automatic' | 'held' | 'triggered'
  state: 'running' | 'succeeded' | 'failed' | 'aborted'
  startedAt: string
  endedAt: string | null
}

export const isUnderWay = (move: Pick<FlexVolMove, 'state'>): boolean => move.state === 'running'

/** One image on its way. */
export interface MovingImage {
  kind: 'volume' | 'snapshot'
  /** The volume's or snapshot's id. */
  id: string
  name: string | null
  /**
   * `in-sync`: copied, and waiting to cut over. `moved`: at the destination. `home`: where it was before, in a move that
   * was given up; what such a one copies it copies back.
   */
  state: 'queued' | 'copying' | 'in-sync' | 'moved' | 'failed' | 'home'
  attached: boolean
  doneBytes: number
  totalBytes: number
  /** Milliseconds for which the client's I/O was held; null: no cutover was needed, or none came yet. */
  pauseMs: number | null
  attempts: number
  /** Why earlier attempts failed, oldest first. */
  issues: string[]
  /** The operation that moves it now, or last did. */
  operationId: string | null
}

/**
 * The progress of the operation `flexvol.move`. Bytes are of all images. While it brings back, `doneBytes` and the images
 * that are not at home any more count down to none.
 */
export interface FlexVolMoveProgress {
  phase: 'queued' | 'replicating' | 'cutover_pending' | 'cutover' | 'paused' | 'bringing-back'
  doneBytes: number
  totalBytes: number
  rateBps: number
  leftBytes: number
  etaSeconds: number | null
  images: { total: number; moved: number; copying: number; inSync: number; queued: number; failed: number }
  /** The longest that any client was held so far; null: none was. */
  longestPauseMs: number | null
  /** The latest first, at most ten. */
  issues: { at: string; image: string; reason: string }[]
}
