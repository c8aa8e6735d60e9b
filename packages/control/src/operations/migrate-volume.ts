/**
 * # A volume migrates to another pool while its client writes
 *
 * The pool may be on another aggregate, another node, another cluster. The volume's holder (the head beside the
 * guest, or a mover started for a detached volume) mirrors its image to a new one and then stands on that.
 * docs/protocol/volume-migration.md has the reasons, the invariants, and what happens after a crash at each point.
 *
 *     reserveTarget → createTarget → openHolder → startMirror → [inSync] → CUTOVER → settle → retireSource → finish
 *
 *     truth:  ─────────────────────── source ─────────────────────────────┃──────────── target ────────────────
 *
 * The cutover is two-phase commit. PENDING: I/O is quiesced, both images are equal. Then, in this order: probe the
 * target, commit in the decision register beside the holder, record the truth, take the source away, finalize. Whatever
 * dies before the commit leaves the source the truth, whatever dies after it the target, and both are right.
 */
import { final, operation } from '@volant/saga'
import type { UndoOf } from '../domain/undo.ts'
import { placeForNew, type Copy, type VolumeStatus } from '../domain/volume.ts'
import type { CopyRecords, FlexVolRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { throughRestart } from './patience.ts'
import {
  closeMover,
  endCopy,
  isCommitted,
  keptFor,
  openHolder,
  removeTarget,
  startMirror,
  targetStays,
} from './migration-holder.ts'
import { cutOver, lookAtCopy, settleOnTarget, type Relocation, type RelocationPorts } from './relocation.ts'
import { sealMove } from './seal-move.ts'

export interface MigrateVolumeInput extends Relocation {
  sourceFlexvolId: string
  targetFlexvolId: string
  /** Bytes the pool holds back for the target. */
  reservedBytes: number
  /** Milliseconds that a cutover may take until PENDING. */
  cutoverWindowMs: number
  /** Attempts at the cutover. */
  cutoverAttempts: number
  /** Seconds for which the source is kept, read-only. */
  retentionSeconds: number
  /** The status that `lock_volume` replaced by `maintenance`; null: the volume was not locked. */
  lockedFrom: VolumeStatus | null
  /** The migration brings back what another operation moved. */
  undoOf?: UndoOf
}

export interface MigrateVolumePorts extends RelocationPorts {
  volumes: Pick<VolumeRecords, 'get' | 'find' | 'update'>
  copies: Pick<
    CopyRecords,
    'get' | 'find' | 'ofVolume' | 'create' | 'update' | 'remove' | 'changeTruth' | 'rehearseTruth'
  >
  flexvols: Pick<FlexVolRecords, 'get'>
}

export const migrateVolume = operation<MigrateVolumeInput, MigrateVolumePorts>('volume.migrate', {
  version: 1,
})
  .holds((input) => [`volume/${input.volumeId}`])

  // Until the cutover the source is the truth and the target is nothing; everything here can be undone.
  .step('reserveTarget', {
    do: async ({ op, input, ports, now }) => {
      // A move of its FlexVol may have changed it until this operation began: another image has the writes since.
      if ((await ports.volumes.get(input.volumeId)).imageId !== input.sourceImageId) {
        throw final('The volume has just moved with its FlexVol: ask for the migration again.')
      }
      const source = await ports.copies.get(input.sourceImageId)
      const flexvol = await ports.flexvols.get(input.targetFlexvolId)
      await ports.copies.create({
        imageId: input.targetImageId,
        volumeId: input.volumeId,
        snapshotId: null,
        flexvolId: flexvol.id,
        ...placeForNew(flexvol),
        sizeBytes: source.sizeBytes,
        state: 'target',
        operationId: op.id,
        reservedBytes: input.reservedBytes,
        retainedUntil: null,
        createdAt: now().toISOString(),
      })
      return null
    },
    undo: async ({ op, input, ports }) => {
      await ports.copies.remove(input.targetImageId)
      await ports.volumes.update(input.volumeId, {
        migrationStatus: op.control.cancelRequested ? null : 'error',
        ...(input.lockedFrom === null ? {} : { status: input.lockedFrom }),
      })
      ports.convergence.delete(op.id)
      ports.pace.end(op.id)
    },
  })

  .step('createTarget', {
    do: async ({ op, input, ports }) => {
      await ports.backend.ensureImage(callerOf(op), await ports.copies.get(input.targetImageId))
      return null
    },
    undo: ({ op, input, ports }) => removeTarget(ports, op, input),
    skipUndo: targetStays,
    retry: throughRestart,
  })

  .step('openHolder', {
    do: async ({ op, input, ports }) => openHolder(ports, op, input.volumeId, input.sourceImageId),
    // Whether a crash came before or after the mover's start: it is on the machine of the source.
    undo: async ({ op, input, ports }) => {
      const source = await ports.copies.get(input.sourceImageId)
      await closeMover(ports, op, ports.places.machineOfNode(source.node), input.sourceImageId)
    },
    retry: throughRestart,
  })

  .step('startMirror', {
    do: async ({ op, input, out, ports }) => {
      await ports.volumes.update(input.volumeId, { migrationStatus: 'migrating' })
      await startMirror(ports, op, input, out.openHolder)
      return null
    },
    undo: ({ op, out, ports }) => endCopy(ports, op, out.openHolder),
    retry: throughRestart,
  })

  .wait('inSync', {
    every: '250ms',
    // However long a copy takes; but not without anything being copied.
    stallTimeout: '15m',
    until: ({ op, input, out, ports }) =>
      lookAtCopy(ports, op, input, out.openHolder, {
        onRestart: () => ports.volumes.update(input.volumeId, { migrationStatus: 'migrating' }),
      }),
    retry: throughRestart,
  })

  .commit('cutover', {
    do: async ({ op, input, out, ports, now }) => {
      await ports.volumes.update(input.volumeId, { migrationStatus: 'completing' })
      return cutOver(ports, op, input, out.openHolder, input.cutoverWindowMs, () =>
        keptFor(input.retentionSeconds, now()),
      )
    },
    happened: ({ op, input, out, ports }) => isCommitted(ports, op, input, out.openHolder),
    retryFrom: 'inSync',
    attempts: (input) => input.cutoverAttempts,
    backoff: { first: '1s', longest: '30s' },
  })

  // The target is the truth. From here on everything is repeated until it is done; there is no way back.
  .step('settle', {
    do: ({ op, input, out, ports, now }) =>
      settleOnTarget(
        ports,
        op,
        input,
        out.openHolder,
        out.cutover !== undefined,
        keptFor(input.retentionSeconds, now()),
      ),
  })

  .step('retireSource', {
    skip: 'nothing uses the source any more; it is removed when its retention time is over',
    do: async ({ op, input, out, ports }) => {
      const source = await ports.copies.find(input.sourceImageId)
      if (source === undefined) return null
      const { holderId, machine } = out.openHolder
      await ports.backend.revoke(callerOf(op), source, machine, holderId)
      if (input.retentionSeconds > 0) {
        await ports.backend.ensureReadOnly(callerOf(op), source, true)
      } else {
        await ports.backend.ensureNoImage(callerOf(op), source)
        await ports.copies.remove(source.imageId)
      }
      return null
    },
  })

  .step('finish', {
    do: async ({ op, input, out, ports, now }) => {
      const updatedAt = now().toISOString()
      // Before the volume is free: an undo goes by it. Of one in use nothing can be told later.
      const sealed = out.openHolder.isHead ? { seal: null } : await sealMove(ports, input, updatedAt)
      await ports.volumes.update(input.volumeId, {
        migrationStatus: 'success',
        updatedAt,
        ...(input.lockedFrom === null ? {} : { status: input.lockedFrom }),
      })
      ports.convergence.delete(op.id)
      ports.pace.end(op.id)
      return sealed
    },
  })

/** For the record of what was moved; used by the dry run as well. */
export const reservationFor = (source: Copy, allocatedBytes: number): number =>
  Math.min(source.sizeBytes, allocatedBytes)
