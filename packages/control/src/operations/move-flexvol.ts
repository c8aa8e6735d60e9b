/**
 * # A FlexVol moves to another aggregate under its live volumes
 *
 * Its images go one by one, each as a part: an operation of its own, by the image's head (`relocate-volume.ts`) or by its
 * storage node (`relocate-image.ts`). The FlexVol's volumes work all along, wherever each image is.
 * docs/protocol/flexvol-move.md has the reasons, the invariants, and what happens after a crash at each point.
 *
 *     begin → prepare → [imagesMoved] → ARRIVE → settleCopies → finish
 *
 *     the FlexVol's home:  ───── from ─────┃──────── to ────────
 *     its new images:      ── from ─┃────────── to ─────────────
 *
 * The move keeps no list of its images: it looks at the records again and again (`move-facts.ts`), decides what is next
 * (`domain/move-order.ts`), and starts a part for it. So whatever is created, deleted, attached or snapshotted meanwhile
 * is seen, and a crash resumes by looking. Cancelled, it turns round: new images are made at home again, parts under way
 * are given up, and what has moved is brought back by parts in the other direction.
 */
import { isDomainError } from '@volant/contract'
import { final, operation, retryable, type RunRecord, type CopyControl } from '@volant/saga'
import type { CutoverAction, FlexVolMove } from '../domain/flexvol-move.ts'
import { isAt, nextImages, usedUpCutovers, type MoveFacts, type NextImage } from '../domain/move-order.ts'
import { moveProgress } from '../domain/move-progress.ts'
import type { PartInput } from '../domain/relocation-part.ts'
import type { AggregatePlace, FlexVol } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { CopyRecords, FlexVolMoveRecords, FlexVolRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { gatherMove, isKeptForTheMove, memoryOf, type MoveFactsPorts } from './move-facts.ts'
import { bringToParts, startWishes, unlessOver } from './part-wishes.ts'
import { throughRestart } from './patience.ts'
import { relocateImage } from './relocate-image.ts'
import { relocateVolume } from './relocate-volume.ts'

export interface MoveFlexVolInput {
  flexvolId: string
  from: AggregatePlace
  to: AggregatePlace
  /** Blocks that images share stay shared. */
  shares: boolean
  /** What is to be copied, as it was reckoned at the request. */
  estimateBytes: number
  cutoverWindowSeconds: number
  cutoverAction: CutoverAction
  /** Seconds for which what the move leaves is kept. */
  retentionSeconds: number
}

export interface MoveFlexVolPorts extends MoveFactsPorts {
  flexvols: Pick<FlexVolRecords, 'get' | 'find' | 'update' | 'arrive'>
  moves: Pick<FlexVolMoveRecords, 'find' | 'create' | 'update'>
  copies: Pick<CopyRecords, 'ofFlexVol' | 'update' | 'remove'>
  backend: Pick<Backend, 'imageInfo' | 'ensureFlexVolAt' | 'ensureNoFlexVolAt' | 'ensureNoImage'>
  engine: Pick<
    OperationEngine,
    'start' | 'get' | 'partsOf' | 'underWay' | 'historyOf' | 'pause' | 'resume' | 'steer' | 'cancel'
  >
  /** Milliseconds, from a clock that does not jump. */
  monotonic(): number
}

/** Between two looks: while parts are under way, and while there is nothing to do but wait. */
const busy = '150ms'
const idle = '1s'

export const moveFlexVol = operation<MoveFlexVolInput, MoveFlexVolPorts>('flexvol.move', { version: 1 })
  .holds((input) => [`flexvol/${input.flexvolId}`])

  .step('begin', {
    do: async ({ op, input, ports }) => {
      await ports.moves.create(newMove(op.id, input, op.createdAt))
      return null
    },
    undo: async ({ op, input, ports, now }) => {
      await turn(ports, input, null, 0)
      // Where its removal was skipped: nobody needs it, and it goes in the background.
      await keepUntil(ports, input.flexvolId, now())
      const state = op.control.cancelRequested ? 'aborted' : 'failed'
      await ports.moves.update(op.id, { state, endedAt: now().toISOString() })
      ports.moving.delete(op.id)
    },
  })

  .step('prepare', {
    do: async ({ op, input, ports }) => {
      await ports.backend.ensureFlexVolAt(callerOf(op), await ports.flexvols.get(input.flexvolId), input.to)
      return null
    },
    undo: async ({ op, input, ports }) => {
      // What the move left, at both ends, is nothing any more: every image is at home, and is the truth.
      for (const copy of await ports.copies.ofFlexVol(input.flexvolId)) {
        if (!isKeptForTheMove(copy)) continue
        await ports.backend.ensureNoImage(callerOf(op), copy)
        await ports.copies.remove(copy.imageId)
      }
      await leave(ports, op, input.flexvolId, input.to)
    },
    retry: throughRestart,
    skipUndo: 'what the move had made stays behind on the destination; nothing uses it',
  })

  .wait('imagesMoved', {
    every: busy,
    // Its parts have bounds of their own, and what fails is tried again for as long as the operator likes.
    stallTimeout: '1h',
    until: async ({ op, input, ports, now }) => {
      const move = await requireMove(ports, op.id)
      await turn(ports, input, input.to)
      const { facts, going } = await gather(ports, op, input, move, input.to, now())
      await answerFailures(ports, op, move, facts)
      const order = nextImages(facts)
      const { paused } = op.control
      await steer(ports, op, facts, going)
      const started = paused ? 0 : await startParts(ports, op, input.flexvolId, facts.at, order.start)
      const progress = moveProgress(facts, {
        move,
        paused,
        isBack: false,
        estimateBytes: input.estimateBytes,
      })
      await reserve(ports, input.flexvolId, progress.leftBytes)
      const isBusy = started > 0 || progress.images.copying > 0
      return { done: order.done, progress, advance: ports.monotonic(), again: isBusy ? busy : idle }
    },
    retry: throughRestart,

    back: {
      every: busy,
      stallTimeout: '1h',
      until: async ({ op, input, ports, now }) => {
        const move = await requireMove(ports, op.id)
        // First: whatever is made from here on is made at home.
        await turn(ports, input, null, 0)
        const automatic = { ...move, cutover: 'automatic' as const }
        const { facts, going } = await gather(ports, op, input, automatic, input.from, now())
        const onward = await giveUp(ports, input, going)
        await steer(ports, op, facts, going)
        const order = nextImages(facts)
        if (onward === 0) await startParts(ports, op, input.flexvolId, facts.at, order.start)
        const more = { move, paused: false, isBack: true, estimateBytes: input.estimateBytes }
        const progress = moveProgress(facts, more)
        const advance = [progress.images.moved, progress.doneBytes, facts.parts.length, onward]
        return { done: order.done && onward === 0, progress, advance }
      },
    },
  })

  // From here on the FlexVol is at its destination.
  .commit('arrive', {
    do: async ({ input, ports }) => {
      if (await ports.flexvols.arrive(input.flexvolId, input.to)) return null
      throw retryable('An image has come to be elsewhere since; the move looks again.')
    },
    happened: async ({ input, ports }) => {
      const flexvol = await ports.flexvols.get(input.flexvolId)
      return isAt(flexvol, input.to) && flexvol.destination === null
    },
    retryFrom: 'imagesMoved',
    // Each is another look; the wait has its bound.
    attempts: 1000,
    backoff: '100ms',
  })

  // What was kept as a base, or to be taken back, has its time from now on.
  .step('settleCopies', {
    skip: 'nothing uses what the move left behind; it takes room until its volumes are deleted',
    do: async ({ input, ports, now }) => {
      const until = new Date(now().getTime() + input.retentionSeconds * 1000)
      await keepUntil(ports, input.flexvolId, until)
      return null
    },
  })

  .step('leaveSource', {
    skip: 'an empty folder stays behind on the aggregate that the FlexVol has left',
    do: async ({ op, input, ports }) => {
      await leave(ports, op, input.flexvolId, input.from)
      return null
    },
  })

  .step('finish', {
    do: async ({ op, ports, now }) => {
      await ports.moves.update(op.id, { state: 'succeeded', endedAt: now().toISOString() })
      ports.moving.delete(op.id)
      return null
    },
  })

/** The move's record. Whoever starts a move may make it, too: wishes come at once. */
export const newMove = (id: string, input: MoveFlexVolInput, startedAt: string): FlexVolMove => ({
  id,
  flexvolId: input.flexvolId,
  from: input.from,
  to: input.to,
  cutoverWindowSeconds: input.cutoverWindowSeconds,
  cutoverAction: input.cutoverAction,
  cutover: input.cutoverAction === 'wait' ? 'held' : 'automatic',
  state: 'running',
  startedAt,
  endedAt: null,
})

type Op = { id: string; fence: number; control: Readonly<CopyControl & { paused: boolean }> }

/** Where new images are made from now on; null: at home. Without `reserved` what is held back there stays as it is. */
async function turn(
  ports: MoveFlexVolPorts,
  { flexvolId, estimateBytes }: MoveFlexVolInput,
  destination: AggregatePlace | null,
  reserved?: number,
): Promise<void> {
  const flexvol = await ports.flexvols.get(flexvolId)
  const is = flexvol.destination
  if (destination === null ? is === null : is !== null && isAt(is, destination)) return
  await ports.flexvols.update(flexvolId, {
    destination,
    moveReservedBytes: reserved ?? estimateBytes,
  })
}

/** What is held back at the destination shrinks with what is left to copy. Not each MiB is worth a write. */
async function reserve(ports: MoveFlexVolPorts, flexvolId: string, leftBytes: number): Promise<void> {
  const { moveReservedBytes } = await ports.flexvols.get(flexvolId)
  const step = 64 * 1024 * 1024
  if (leftBytes === moveReservedBytes) return
  if (leftBytes > 0 && Math.abs(moveReservedBytes - leftBytes) < step) return
  await ports.flexvols.update(flexvolId, { moveReservedBytes: leftBytes })
}

async function requireMove(ports: MoveFlexVolPorts, moveId: string): Promise<FlexVolMove> {
  const move = await ports.moves.find(moveId)
  if (move === undefined) throw final(`There is no record of the move ${moveId}.`)
  return move
}

const gather = (
  ports: MoveFlexVolPorts,
  op: Op,
  input: MoveFlexVolInput,
  move: Pick<FlexVolMove, 'cutover'>,
  at: AggregatePlace,
  now: Date,
): ReturnType<typeof gatherMove> =>
  gatherMove(ports, {
    id: op.id,
    flexvolId: input.flexvolId,
    held: move.cutover === 'held',
    shares: input.shares,
    at,
    now,
  })

/** A live image has used up its cutovers: the move goes on, waits for an operator, or is given up. */
async function answerFailures(
  ports: MoveFlexVolPorts,
  op: Op,
  move: FlexVolMove,
  facts: MoveFacts,
): Promise<void> {
  const { answered } = memoryOf(ports.moving, op.id)
  for (const key of new Set(facts.parts.map((part) => part.key))) {
    const parts = facts.parts.filter((part) => part.key === key)
    const [latest] = parts
    if (latest === undefined || !usedUpCutovers(parts)) continue
    if (move.cutoverAction === 'abort_on_failure') {
      throw final(`${key} could not be cut over, and the move is to be given up then: ${latest.reason ?? ''}`)
    }
    const isNew = !answered.has(latest.id)
    answered.add(latest.id)
    // Of one that an earlier process saw nobody knows whether somebody has triggered since.
    if (isNew && move.cutoverAction === 'defer_on_failure' && move.cutover === 'automatic') {
      await ports.moves.update(op.id, { cutover: 'held' })
    }
  }
}

/** Brings the operator's pause and pace to the parts, and shares the rate among those that copy. */
async function steer(
  ports: MoveFlexVolPorts,
  op: Op,
  facts: MoveFacts,
  going: readonly RunRecord[],
): Promise<void> {
  const inSync = new Set(facts.parts.filter((part) => part.inSync).map(({ id }) => id))
  const copying = going.filter(({ id }) => !inSync.has(id)).length
  const { rate } = op.control
  const share = rate === null ? null : Math.max(1, Math.floor(rate / Math.max(1, copying)))
  await bringToParts(ports.engine, going, { ...op.control, rate: share })
}

/** Cancels what still goes to the destination; how many of those are under way. */
async function giveUp(
  ports: MoveFlexVolPorts,
  { to }: MoveFlexVolInput,
  going: readonly RunRecord[],
): Promise<number> {
  const onward = going.filter((run) => isAt((run.input as PartInput).to, to))
  for (const run of onward) {
    if (run.control.cancelRequested || !run.cancellable) continue
    await unlessOver(() => ports.engine.cancel(run.id))
  }
  return onward.length
}

/** Starts a part for each; one whose volume a user's operation works on is left for the next look. */
async function startParts(
  ports: MoveFlexVolPorts,
  op: Op,
  flexvolId: string,
  at: AggregatePlace,
  images: readonly NextImage[],
): Promise<number> {
  if (images.length === 0) return 0
  // Whoever tidies up after an earlier move may have taken the empty folder away.
  await ports.backend.ensureFlexVolAt(callerOf(op), await ports.flexvols.get(flexvolId), at)
  let started = 0
  for (const next of images) {
    try {
      await startPart(ports, op, flexvolId, at, next)
      started += 1
    } catch (error) {
      if (!isDomainError(error) || error.code !== 'conflict') throw error
    }
  }
  return started
}

async function startPart(
  ports: MoveFlexVolPorts,
  op: Op,
  flexvolId: string,
  at: AggregatePlace,
  { image, base, kept }: NextImage,
): Promise<void> {
  const part: PartInput = {
    moveId: op.id,
    flexvolId,
    volumeId: image.volumeId,
    snapshotId: image.snapshotId,
    from: image.place,
    to: at,
    sourceImageId: image.imageId,
    targetImageId: kept?.imageId ?? crypto.randomUUID(),
    base: kept === null ? base : null,
  }
  const wishes = { parent: op.id, ...startWishes(op.control) }
  const { id } = await (image.attached
    ? ports.engine.start(relocateVolume, { ...part, cloneImageId: crypto.randomUUID() }, wishes)
    : ports.engine.start(
        relocateImage,
        { ...part, kept: kept === null ? null : { mark: kept.mark } },
        wishes,
      ))
  memoryOf(ports.moving, op.id).going.add(id)
}

/** The move is over: what it kept has its time. */
async function keepUntil(ports: MoveFlexVolPorts, flexvolId: string, until: Date): Promise<void> {
  const retainedUntil = until.toISOString()
  for (const copy of await ports.copies.ofFlexVol(flexvolId)) {
    if (isKeptForTheMove(copy)) await ports.copies.update(copy.imageId, { retainedUntil })
  }
}

/** Removes the FlexVol's folder where no image of it is left; what is kept there takes it along when it goes. */
async function leave(
  ports: MoveFlexVolPorts,
  op: Op,
  flexvolId: string,
  place: AggregatePlace,
): Promise<void> {
  const copies = await ports.copies.ofFlexVol(flexvolId)
  if (copies.some((copy) => isAt(copy, place))) return
  const flexvol: FlexVol = await ports.flexvols.get(flexvolId)
  await ports.backend.ensureNoFlexVolAt(callerOf(op), flexvol, place)
}
