import type { PlanCheck } from '@volant/contract/ndo/migration.ts'
import type { CutoverAction, FlexVolMove, FlexVolMoveProgress, MovingImage } from '../domain/flexvol-move.ts'
import type { AggregatePlace, FlexVol } from '../domain/volume.ts'

/**
 * Moves of FlexVols between aggregates of their cluster, as both APIs that offer them need it (ONTAP's and /ndo/v1).
 * Who may is decided before: only administrators get this far.
 */
export interface FlexVolMoves {
  /** Every precondition, all of them at once, and an estimate; changes nothing. */
  plan(request: FlexVolMoveRequest): Promise<FlexVolMovePlan>
  /**
   * Checks every precondition, and only then records the operation, whose id is the move's. Throws a `DomainError` with
   * the first check that fails: `notFound` (aggregate), `conflict` (moving already), `noCapacity`, `invalid`.
   */
  start(request: FlexVolMoveRequest): Promise<{ operationId: string }>
  /** Window and action of the move under way; `conflict` where none is. */
  modify(
    flexvolId: string,
    changes: { cutoverWindowSeconds?: number; cutoverAction?: CutoverAction },
  ): Promise<void>
  /** Lets held images cut over; `conflict` where no move is under way. */
  trigger(flexvolId: string): Promise<void>
  /** Holds cutovers that have not begun until `trigger`. */
  hold(flexvolId: string): Promise<void>
  pause(flexvolId: string): Promise<void>
  resume(flexvolId: string): Promise<void>
  /** Brings back what has moved. `conflict` once the last image has cut over. */
  abort(flexvolId: string): Promise<void>
  /** The move under way, or the latest, and how far it is; undefined: it never moved. */
  movementOf(flexvolId: string): Promise<Movement | undefined>
  /** As `movementOf`, of all FlexVols that ever moved, by their id. */
  movements(): Promise<Map<string, Movement>>
  /** Every image of the move. `notFound` for an unknown one. */
  images(moveId: string): Promise<MovingImage[]>
}

export interface FlexVolMoveRequest {
  flexvolId: string
  /** By name; of the FlexVol's cluster. */
  aggregate: string
  /** Absent: 30. */
  cutoverWindowSeconds?: number
  /** Absent: `retry_on_failure`. */
  cutoverAction?: CutoverAction
  /** Bytes per second for all images together; 0: unlimited; absent: the configured default. */
  rate?: number
  /** As people write them; absent: as configured. */
  pace?: string
  priority?: string
  /** The operation that it is a part of, such as the emptying of an aggregate. */
  parent?: string
}

export interface FlexVolMovePlan {
  ok: boolean
  flexvol: FlexVol | undefined
  from: AggregatePlace | null
  to: AggregatePlace | null
  checks: PlanCheck[]
  images: { volumes: number; attached: number; snapshots: number }
  estimate: {
    /** What will be copied: shared blocks once where both aggregates can share, else each time. */
    bytes: number
    /** What the destination has free for it. */
    freeBytes: number
    seconds: number
    /** Bytes per second. */
    rate: number
    /** Blocks that images share stay shared. */
    staysShared: boolean
  } | null
  steps: string[]
}

export interface Movement {
  move: FlexVolMove
  /**
   * ONTAP's word for it, where it has one. `queued`: no image may begin yet. `cutover_pending`: all that is left waits to
   * be triggered. `cutover`: triggered, or the last images are at it. `bringing-back`: it was given up.
   */
  state:
    | 'queued'
    | 'replicating'
    | 'paused'
    | 'cutover_wait'
    | 'cutover_pending'
    | 'cutover'
    | 'bringing-back'
    | 'success'
    | 'failed'
    | 'aborted'
  /** 0 to 100; 100 only after success; counts down while it brings back. */
  percentComplete: number
  progress: FlexVolMoveProgress | null
  /** Why it failed, or needs attention. */
  reason: string | null
}
