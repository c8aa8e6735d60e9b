/**
 * # The move of a volume is taken back, without copying anything
 *
 * For a volume to which provably nobody has written since it moved: its former image, kept read-only, has every write
 * and becomes the truth again. docs/protocol/undo.md has the proof; `app/undo.ts` chooses this way where the proof
 * holds, and claims the volume on condition that its row is as the move left it.
 *
 *     prove → takeBack → TURNBACK → retireCopy → finish
 *
 *     truth:  ── the present image ──┃── the former image, where the volume was ──
 *
 * Nobody has either image open, and the key and the claim keep everybody from opening one. So the commit is the record
 * alone: before it the present image is the truth, after it the former one, and they are equal.
 */
import { final, operation } from '@volant/saga'
import { proveUnwritten, type Move, type MoveSeal, type UndoOf } from '../domain/undo.ts'
import type { Backend } from '../ports/backend.ts'
import type { CopyRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { gatherProof, isAtHome, sealMove, type ProofPorts } from './seal-move.ts'

/** `source…` is the truth when it starts, `target…` the kept image that becomes the truth again. */
export interface RevertMigrationInput extends Move {
  /** The move that is taken back, and why in this way. */
  undoOf: UndoOf
  /** What that move noted at its end. */
  seal: MoveSeal
  /** Seconds for which the image that is left is kept, read-only. */
  retentionSeconds: number
}

export interface RevertMigrationPorts extends ProofPorts {
  volumes: Pick<VolumeRecords, 'get' | 'update'>
  copies: Pick<CopyRecords, 'get' | 'find' | 'remove' | 'takeBack' | 'keepAgain' | 'changeTruth'>
  backend: Pick<Backend, 'imageInfo' | 'ensureReadOnly' | 'ensureNoImage'>
}

export const revertMigration = operation<RevertMigrationInput, RevertMigrationPorts>(
  'volume.revertMigration',
  { version: 1 },
)
  .holds((input) => [`volume/${input.volumeId}`])

  // The request has claimed the volume. Before that something may have happened; from here on nothing can.
  .step('prove', {
    do: async ({ op, input, ports }) => {
      const parts = proveUnwritten(
        await gatherProof(ports, {
          operationId: input.undoOf.operationId,
          move: mirrored(input),
          seal: input.seal,
          claimedBy: op.id,
        }),
      )
      const missing = parts.find((part) => !part.ok)
      if (missing === undefined) return null
      const again = `volant undo ${input.undoOf.operationId}`
      throw final(`${missing.reason} It can still be undone, by a migration back: ${again}`)
    },
    undo: async ({ op, input, ports }) => {
      await ports.volumes.update(input.volumeId, {
        migrationStatus: op.control.cancelRequested ? null : 'error',
        ...(input.lockedFrom === null ? {} : { status: input.lockedFrom }),
      })
    },
  })

  // The record first: whoever retires kept images leaves this one alone from then on.
  .step('takeBack', {
    do: async ({ op, input, ports, now }) => {
      if (!(await ports.copies.takeBack(input.targetImageId, op.id, now().toISOString()))) {
        throw final('The retention time has just ended, and with it the time to undo.')
      }
      // From here on its FlexVol cannot arrive elsewhere: a move waits for every image that is about to be a truth.
      if (!(await isAtHome(ports, input.targetImageId))) {
        throw final('The pool of the former image has just moved to another aggregate.')
      }
      await ports.backend.ensureReadOnly(callerOf(op), await ports.copies.get(input.targetImageId), false)
      return null
    },
    undo: async ({ op, input, ports }) => {
      const copy = await ports.copies.find(input.targetImageId)
      if (copy?.state !== 'target' || copy.operationId !== op.id) return
      await ports.backend.ensureReadOnly(callerOf(op), copy, true)
      await ports.copies.keepAgain(copy.imageId, op.id)
    },
  })

  .commit('turnBack', {
    do: async ({ op, input, ports, now }) => {
      await ports.copies.changeTruth({
        volumeId: input.volumeId,
        fromImageId: input.sourceImageId,
        toImageId: input.targetImageId,
        operationId: op.id,
        fence: op.fence,
        retainedUntil: new Date(now().getTime() + input.retentionSeconds * 1000).toISOString(),
      })
      return null
    },
    happened: async ({ input, ports }) =>
      (await ports.volumes.get(input.volumeId)).imageId === input.targetImageId,
    attempts: 5,
    backoff: { first: '250ms', longest: '5s' },
  })

  // As a migration leaves its source.
  .step('retireCopy', {
    skip: 'nothing uses the image that was left; it is removed when its retention time is over',
    do: async ({ op, input, ports }) => {
      const left = await ports.copies.find(input.sourceImageId)
      if (left === undefined) return null
      if (input.retentionSeconds > 0) {
        await ports.backend.ensureReadOnly(callerOf(op), left, true)
      } else {
        await ports.backend.ensureNoImage(callerOf(op), left)
        await ports.copies.remove(left.imageId)
      }
      return null
    },
  })

  .step('finish', {
    do: async ({ input, ports, now }) => {
      const updatedAt = now().toISOString()
      const sealed = await sealMove(ports, input, updatedAt)
      await ports.volumes.update(input.volumeId, {
        migrationStatus: 'success',
        updatedAt,
        ...(input.lockedFrom === null ? {} : { status: input.lockedFrom }),
      })
      return sealed
    },
  })

/** The move from there to here as a move from here to there. */
export const mirrored = (move: Move): Move => ({
  volumeId: move.volumeId,
  sourceImageId: move.targetImageId,
  sourceFlexvolId: move.targetFlexvolId,
  targetImageId: move.sourceImageId,
  targetFlexvolId: move.sourceFlexvolId,
  lockedFrom: move.lockedFrom,
})
