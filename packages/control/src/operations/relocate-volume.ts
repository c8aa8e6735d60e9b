/**
 * # An attached volume goes to another aggregate under its client
 *
 * As a part of its FlexVol's move: by its head, with the same protocol as a migration (`relocation.ts`), and unseen by
 * users: the volume keeps its pool, and no status changes.
 *
 *     reserveTarget → createTarget → openHolder → startMirror → cloneSource → bringUp → [broughtUp] → letGo
 *       → [inSync] → CUTOVER → settle
 *
 * Where both aggregates can share blocks, and a snapshot of it has moved, nothing that the two share is copied: the
 * target begins as a clone of that snapshot's copy. The mirror then notes what is written from its start on, and rests
 * (`changesOnly`). A clone of the source, made after that start, has everything before it; what it does not share with the
 * snapshot is copied into the target. Then the clone goes, and the mirror goes on. A mirror that is lost in between took
 * what it had noted with it: the part fails, and the next one begins with a new target.
 * docs/protocol/flexvol-move.md
 */
import type { MirrorPhase } from '@volant/contract'
import { final, operation, postponed } from '@volant/saga'
import type { CutoverTurns } from '../domain/cutover-turns.ts'
import { cutoverAttempts, cutoverWindowSeconds, type FlexVolMove } from '../domain/flexvol-move.ts'
import { isAt } from '../domain/move-order.ts'
import { keptForTheMove, partKeys, type PartInput } from '../domain/relocation-part.ts'
import type { Copy } from '../domain/volume.ts'
import type { CopyToPace } from '../ports/copy-pace.ts'
import type { CopyRecords, FlexVolMoveRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { ensureGrownClone } from './grown-clone.ts'
import { lookAtImageCopy, type ImageCopyPorts } from './image-copy.ts'
import {
  endCopy,
  isCommitted,
  jobOf,
  openHolder,
  removeTarget,
  startMirror,
  targetStays,
  type Holder,
} from './migration-holder.ts'
import { throughRestart } from './patience.ts'
import { cutOver, lookAtCopy, settleOnTarget, type RelocationPorts } from './relocation.ts'

export interface RelocateVolumeInput extends PartInput {
  /** Where there is a base: the id of the clone that is read for what is not shared. */
  cloneImageId: string
}

export interface RelocateVolumePorts extends RelocationPorts, Pick<ImageCopyPorts, 'copying'> {
  volumes: Pick<VolumeRecords, 'get' | 'find'>
  copies: Pick<
    CopyRecords,
    'get' | 'find' | 'ofVolume' | 'create' | 'remove' | 'changeTruth' | 'rehearseTruth'
  >
  moves: Pick<FlexVolMoveRecords, 'find'>
  turns: CutoverTurns
}

export const relocateVolume = operation<RelocateVolumeInput, RelocateVolumePorts>('volume.relocate', {
  version: 1,
})
  .holds(partKeys)

  .step('reserveTarget', {
    do: async ({ op, input, ports, now }) => {
      const source = await movableSource(ports, input)
      await ports.copies.create(rowOf(input, source, input.targetImageId, op.id, now(), input.to))
      return null
    },
    undo: async ({ op, input, ports }) => {
      await ports.copies.remove(input.targetImageId)
      // Where its removal was skipped: the row would hold the FlexVol back from its destination for ever.
      await ports.copies.remove(input.cloneImageId)
      ports.convergence.delete(op.id)
      ports.pace.end(op.id)
      ports.copying.delete(op.id)
    },
  })

  .step('createTarget', {
    do: async ({ op, input, ports }) => {
      const target = await ports.copies.get(input.targetImageId)
      if (input.base === null) await ports.backend.ensureImage(callerOf(op), target)
      // The volume may have grown since the snapshot.
      else await ensureGrownClone(ports, callerOf(op), target, await ports.copies.get(input.base.toImageId))
      return null
    },
    undo: ({ op, input, ports }) => removeTarget(ports, op, input),
    skipUndo: targetStays,
    retry: throughRestart,
  })

  .step('openHolder', {
    do: async ({ op, input, ports }) => openHolder(ports, op, input.volumeId, input.sourceImageId),
    // The head is the attachment's, and stays.
    undo: () => {},
    retry: throughRestart,
  })

  .step('startMirror', {
    do: async ({ op, input, out, ports }) => {
      await startMirror(ports, op, input, out.openHolder, {
        ...(input.base !== null && { changesOnly: true }),
      })
      return null
    },
    undo: ({ op, out, ports }) => endCopy(ports, op, out.openHolder),
    retry: throughRestart,
  })

  // After the mirror's start: what is written from there on it has noted, what was written before the clone has.
  .step('cloneSource', {
    do: async ({ op, input, ports, now }) => {
      if (input.base === null) return null
      const source = await ports.copies.get(input.sourceImageId)
      await ports.copies.create(rowOf(input, source, input.cloneImageId, op.id, now(), input.from))
      await ports.backend.ensureClone(callerOf(op), await ports.copies.get(input.cloneImageId), source)
      return null
    },
    undo: ({ op, input, ports }) => removeClone(ports, op, input),
    skipUndo: 'a clone of the source stays behind as a stray, which nothing uses',
    retry: throughRestart,
  })

  .step('bringUp', {
    do: async ({ op, input, ports }) => {
      if (input.base !== null) await startBringUp(ports, op, input)
      return null
    },
    undo: async ({ op, input, ports }) => {
      const pair = await clonePair(ports, input)
      if (pair !== undefined) await ports.backend.ensureNoCopy(callerOf(op), pair)
    },
    retry: throughRestart,
  })

  .wait('broughtUp', {
    every: '100ms',
    stallTimeout: '15m',
    until: ({ op, input, out, ports }) =>
      input.base === null ? { done: true, advance: null } : lookAtBringUp(ports, op, input, out.openHolder),
    retry: throughRestart,
  })

  .step('letGo', {
    do: async ({ op, input, out, ports }) => {
      if (input.base === null) return null
      const { holderId, machine } = out.openHolder
      const pair = await clonePair(ports, input)
      const copied = pair && (await ports.backend.copyStatus(pair))
      if (pair !== undefined) await ports.backend.ensureNoCopy(callerOf(op), pair)
      await removeClone(ports, op, input)
      const holders = ports.agents.holders(machine)
      requireMirror((await holders.mirrorStatus(holderId, jobOf(op))).phase)
      await holders.ensureMirrorPaused(callerOf(op), holderId, jobOf(op), op.control.paused)
      ports.copying.delete(op.id)
      // Repeated after a crash it may not know any more: only the figure that is shown is smaller then.
      return { broughtUpBytes: copied?.doneBytes ?? 0 }
    },
    undo: () => {},
    retry: throughRestart,
  })

  .wait('inSync', {
    every: '250ms',
    // However long a copy takes; but not without anything being copied.
    stallTimeout: '15m',
    until: async ({ op, input, out, ports }) => {
      const { machine } = out.openHolder
      const look = await lookAtCopy(ports, op, input, out.openHolder, {
        isHeld: isHeld(await ports.moves.find(input.moveId), input),
        mustNotRestart: input.base !== null,
        ...(out.letGo !== null && { broughtUpBytes: out.letGo.broughtUpBytes }),
      })
      // Without progress it is at its cutover already, or past it: that waits for nobody.
      if (!look.done || look.progress === undefined) return look
      const now = ports.monotonic()
      if (ports.turns.take(machine, op.id, now)) return look
      return { ...look, done: false, again: '50ms', advance: [look.advance, now] }
    },
    retry: throughRestart,
  })

  .commit('cutover', {
    do: async ({ op, input, out, ports }) => {
      const move = await ports.moves.find(input.moveId)
      const windowMs = (move?.cutoverWindowSeconds ?? cutoverWindowSeconds.usual) * 1000
      try {
        // An operator's word that came since: before anybody is held.
        if (isHeld(move, input)) throw postponed('The cutover is held.')
        return await cutOver(ports, op, input, out.openHolder, windowMs, () => keptForTheMove)
      } finally {
        ports.turns.release(out.openHolder.machine, op.id)
      }
    },
    happened: ({ op, input, out, ports }) => isCommitted(ports, op, input, out.openHolder),
    retryFrom: 'inSync',
    attempts: cutoverAttempts,
    backoff: { first: '1s', longest: '30s' },
  })

  // The target is the truth. The source stays for as long as the move lasts: it is a base, or is taken back.
  .step('settle', {
    do: async ({ op, input, out, ports }) => {
      const wasAnswered = out.cutover !== undefined
      const settled = await settleOnTarget(ports, op, input, out.openHolder, wasAnswered, keptForTheMove)
      const source = await ports.copies.find(input.sourceImageId)
      if (source !== undefined) {
        const { holderId, machine } = out.openHolder
        await ports.backend.revoke(callerOf(op), source, machine, holderId)
        await ports.backend.ensureReadOnly(callerOf(op), source, true)
      }
      ports.convergence.delete(op.id)
      ports.pace.end(op.id)
      // What it shares was not copied: then the copy's own figures stand.
      return { movedBytes: input.base === null ? settled.movedBytes : null }
    },
  })

/** Nobody waits for the word of an operator on the way back. */
const isHeld = (move: FlexVolMove | undefined, input: PartInput): boolean =>
  move?.cutover === 'held' && isAt(input.to, move.to)

type Op = { id: string; fence: number; control: CopyToPace['control'] }

const rowOf = (
  input: RelocateVolumeInput,
  source: Copy,
  imageId: string,
  operationId: string,
  now: Date,
  place: { node: string; aggregate: string },
): Copy => ({
  imageId,
  volumeId: input.volumeId,
  snapshotId: null,
  flexvolId: input.flexvolId,
  ...place,
  sizeBytes: source.sizeBytes,
  state: 'target',
  operationId,
  // The move as a whole holds back what it has still to copy.
  reservedBytes: 0,
  retainedUntil: null,
  createdAt: now.toISOString(),
})

/** The source where it is still what the part was started for. Otherwise the part ends, and the move looks again. */
async function movableSource(ports: RelocateVolumePorts, input: RelocateVolumeInput): Promise<Copy> {
  const volume = await ports.volumes.find(input.volumeId)
  const source = await ports.copies.find(input.sourceImageId)
  if (source === undefined || volume?.imageId !== input.sourceImageId) {
    throw final('It has changed since: its image is another one, or is gone.')
  }
  const attachments = await ports.attachments.ofVolume(input.volumeId)
  if (attachments.every(({ host }) => host === null)) throw final('It has been detached since.')
  // A server's deletion closes heads without the volume's key: it looks for a part after it has said so here.
  if (attachments.some(({ status }) => status === 'detaching')) throw final('It is being detached.')
  // Nor does a server that fails to be built: until it runs, its heads may go at any moment.
  if (attachments.some(({ status }) => status === 'attaching')) throw final('It is being attached.')
  if (input.base !== null) {
    for (const imageId of [input.base.fromImageId, input.base.toImageId]) {
      if ((await ports.copies.find(imageId)) !== undefined) continue
      throw final(`The snapshot ${input.base.snapshotId}, with which it shares blocks, is gone.`)
    }
  }
  return source
}

async function clonePair(
  ports: RelocateVolumePorts,
  input: RelocateVolumeInput,
): Promise<{ to: Copy; from: Copy } | undefined> {
  const to = await ports.copies.find(input.targetImageId)
  const from = await ports.copies.find(input.cloneImageId)
  return to === undefined || from === undefined ? undefined : { to, from }
}

async function removeClone(ports: RelocateVolumePorts, op: Op, input: RelocateVolumeInput): Promise<void> {
  const clone = await ports.copies.find(input.cloneImageId)
  if (clone === undefined) return
  await ports.backend.ensureNoImage(callerOf(op), clone)
  await ports.copies.remove(clone.imageId)
}

async function startBringUp(ports: RelocateVolumePorts, op: Op, input: RelocateVolumeInput): Promise<void> {
  const { base } = input
  if (base === null) return
  const pair = {
    to: await ports.copies.get(input.targetImageId),
    from: await ports.copies.get(input.cloneImageId),
    volumeId: input.volumeId,
  }
  const rate = await ports.pace.begin({ id: op.id, control: op.control, ...pair })
  await ports.backend.ensureCopy(callerOf(op), {
    to: pair.to,
    from: pair.from,
    base: { from: await ports.copies.get(base.fromImageId), to: await ports.copies.get(base.toImageId) },
    ontoOpen: true,
    rate,
  })
}

/** What is written meanwhile only the mirror knows. */
function requireMirror(phase: MirrorPhase): void {
  if (phase !== 'absent' && phase !== 'failed' && phase !== 'concluded') return
  throw final(`The mirror is ${phase}, and what it noted is lost: the target has to be made anew.`)
}

async function lookAtBringUp(
  ports: RelocateVolumePorts,
  op: Op,
  input: RelocateVolumeInput,
  { holderId, machine }: Holder,
) {
  requireMirror((await ports.agents.holders(machine).mirrorStatus(holderId, jobOf(op))).phase)
  const pair = {
    to: await ports.copies.get(input.targetImageId),
    from: await ports.copies.get(input.cloneImageId),
    volumeId: input.volumeId,
  }
  return lookAtImageCopy(ports, op, pair, () => startBringUp(ports, op, input))
}
