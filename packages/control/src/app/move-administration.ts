import { DomainError, isDomainError } from '@volant/contract'
import type {
  Move,
  MoveChange,
  MoveImage,
  MoveListQuery,
  MovePlan,
  MoveRequest,
} from '@volant/contract/ndo/move.ts'
import { placeText } from '../domain/aggregate-name.ts'
import {
  isUnderWay,
  type FlexVolMove,
  type FlexVolMoveProgress,
  type MovingImage,
} from '../domain/flexvol-move.ts'
import { paceWishes } from '@volant/contract/ndo/pace.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { FlexVolMovePlan, FlexVolMoveRequest, FlexVolMoves, Movement } from '../ports/flexvol-moves.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { FlexVolMoveRecords, FlexVolRecords } from '../ports/records.ts'
import type { ShareRecords } from '../ports/shares.ts'
import { poolHost } from './volume-facts.ts'

/** Wishes of an operator who has the move before him. Each throws `conflict` where the move has ended. */
export type MoveWish = 'trigger' | 'hold' | 'pause' | 'resume' | 'cancel'

/** Moves of FlexVols for administrators, under way and ended, as `/ndo/v1` has them. */
export interface MoveAdministration {
  plan(principal: Principal, request: MoveRequest): Promise<MovePlan>
  /** As `FlexVolMoves.start`. */
  start(principal: Principal, request: MoveRequest): Promise<{ operationId: string }>
  /** Newest first. */
  list(principal: Principal, query: MoveListQuery): Promise<Move[]>
  /** Throws `notFound`. */
  show(principal: Principal, moveId: string): Promise<{ move: Move; images: MoveImage[] }>
  modify(principal: Principal, moveId: string, change: MoveChange): Promise<Move>
  wish(principal: Principal, moveId: string, wish: MoveWish): Promise<Move>
}

export function createMoveAdministration(options: {
  moves: FlexVolMoves
  records: Pick<FlexVolMoveRecords, 'find' | 'list'>
  flexvols: Pick<FlexVolRecords, 'find'>
  shares: Pick<ShareRecords, 'find'>
  engine: Pick<OperationEngine, 'get'>
  host: string
}): MoveAdministration {
  const { moves, records, flexvols, shares } = options
  const admin = (principal: Principal): void => enforce(principal, 'ndo:moves', 'admin')

  const get = async (moveId: string): Promise<FlexVolMove> => {
    const move = await records.find(moveId)
    if (move === undefined) throw new DomainError('notFound', `There is no move ${moveId}.`)
    return move
  }
  const underWay = async (moveId: string): Promise<FlexVolMove> => {
    const move = await get(moveId)
    if (isUnderWay(move)) return move
    throw new DomainError('conflict', `The move ${moveId} has ended: it ${ends[move.state]}.`)
  }
  const view = async (move: FlexVolMove, latest: Movement | undefined): Promise<Move> => {
    const movement = latest?.move.id === move.id ? latest : await endedMovement(options.engine, move)
    const flexvol = await flexvols.find(move.flexvolId)
    const shareId = flexvol?.shareId ?? null
    return moveView(movement, {
      id: move.flexvolId,
      name: flexvol?.name ?? null,
      host: flexvol === undefined || shareId !== null ? null : poolHost(options.host, flexvol),
      share: shareId === null ? null : { id: shareId, name: (await shares.find(shareId))?.name ?? null },
    })
  }
  const viewOf = async (moveId: string): Promise<Move> => {
    const move = await get(moveId)
    return view(move, await moves.movementOf(move.flexvolId))
  }
  return {
    async plan(principal, request) {
      admin(principal)
      return planView(request, await moves.plan(asked(request)))
    },
    async start(principal, request) {
      admin(principal)
      return moves.start(asked(request))
    },
    async list(principal, { flexvol, limit = 100 }) {
      admin(principal)
      const list = await records.list({ limit, ...(flexvol !== undefined && { flexvolId: flexvol }) })
      const latest = await moves.movements()
      return Promise.all(list.map((move) => view(move, latest.get(move.flexvolId))))
    },
    async show(principal, moveId) {
      admin(principal)
      const move = await viewOf(moveId)
      return { move, images: (await moves.images(moveId)).map(imageView) }
    },
    async modify(principal, moveId, { cutover_window, cutover_action }) {
      admin(principal)
      const { flexvolId } = await underWay(moveId)
      await moves.modify(flexvolId, {
        ...(cutover_window !== undefined && { cutoverWindowSeconds: cutover_window }),
        ...(cutover_action !== undefined && { cutoverAction: cutover_action }),
      })
      return viewOf(moveId)
    },
    async wish(principal, moveId, wish) {
      admin(principal)
      const { flexvolId } = await underWay(moveId)
      await moves[wish === 'cancel' ? 'abort' : wish](flexvolId)
      return viewOf(moveId)
    },
  }
}

const stateOf = {
  running: 'replicating',
  succeeded: 'success',
  failed: 'failed',
  aborted: 'aborted',
} as const

const ends = { running: 'is under way', succeeded: 'succeeded', failed: 'failed', aborted: 'was cancelled' }

const asked = (request: MoveRequest): FlexVolMoveRequest => ({
  flexvolId: request.flexvol,
  aggregate: request.aggregate,
  ...(request.cutover_window !== undefined && { cutoverWindowSeconds: request.cutover_window }),
  ...(request.cutover_action !== undefined && { cutoverAction: request.cutover_action }),
  ...(request.rate !== undefined && { rate: request.rate }),
  ...paceWishes(request),
})

/** One that the FlexVol has moved on from since. Its operation is forgotten after a time. */
async function endedMovement(engine: Pick<OperationEngine, 'get'>, move: FlexVolMove): Promise<Movement> {
  const run = await engine.get(move.id).catch((error: unknown) => {
    if (isDomainError(error) && error.code === 'notFound') return undefined
    throw error
  })
  return {
    move,
    state: stateOf[move.state],
    percentComplete: move.state === 'succeeded' ? 100 : 0,
    progress: (run?.progress ?? null) as Movement['progress'],
    reason: run?.failure?.message ?? null,
  }
}

function moveView({ move, progress, ...movement }: Movement, flexvol: Move['flexvol']): Move {
  return {
    id: move.id,
    flexvol,
    from: placeText(move.from),
    to: placeText(move.to),
    state: movement.state,
    percent: movement.percentComplete,
    reason: movement.reason,
    cutover_window: move.cutoverWindowSeconds,
    cutover_action: move.cutoverAction,
    cutover: move.cutover,
    progress: progress === null ? null : progressView(progress),
    started_at: move.startedAt,
    ended_at: move.endedAt,
  }
}

function progressView(progress: FlexVolMoveProgress): Move['progress'] {
  const { inSync, ...images } = progress.images
  return {
    done_bytes: progress.doneBytes,
    total_bytes: progress.totalBytes,
    rate_bytes_per_second: progress.rateBps,
    eta_seconds: progress.etaSeconds,
    images: { ...images, in_sync: inSync },
    longest_client_pause_ms: progress.longestPauseMs,
    issues: progress.issues,
  }
}

const imageView = (image: MovingImage): MoveImage => ({
  kind: image.kind,
  id: image.id,
  name: image.name,
  state: image.state,
  attached: image.attached,
  done_bytes: image.doneBytes,
  total_bytes: image.totalBytes,
  client_pause_ms: image.pauseMs,
  attempts: image.attempts,
  issues: image.issues,
  operation: image.operationId,
})

const planView = (request: MoveRequest, plan: FlexVolMovePlan): MovePlan => ({
  ok: plan.ok,
  flexvol: { id: request.flexvol, name: plan.flexvol?.name ?? null },
  from: plan.from === null ? null : placeText(plan.from),
  to: plan.to === null ? null : placeText(plan.to),
  checks: plan.checks,
  images: plan.images,
  estimate:
    plan.estimate === null
      ? null
      : {
          bytes: plan.estimate.bytes,
          free_bytes: plan.estimate.freeBytes,
          seconds: plan.estimate.seconds,
          rate: plan.estimate.rate,
          stays_shared: plan.estimate.staysShared,
        },
  steps: plan.steps,
})
