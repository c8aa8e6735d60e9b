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
import { DomainError, messageOf, type MirrorPhase, type MirrorStatus } from '@volant/contract'
import { final, operation, retryable } from '@volant/saga'
import {
  judge,
  newConvergence,
  type Convergence,
  type ConvergencePolicy,
  type Verdict,
} from '../domain/convergence.ts'
import type { MigrationProgress } from '../domain/migration-progress.ts'
import type { UndoOf } from '../domain/undo.ts'
import { placeForNew, type Copy, type VolumeStatus } from '../domain/volume.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { Places } from '../ports/places.ts'
import type { AttachmentRecords, CopyRecords, FlexVolRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import type { HeadPorts } from './head.ts'
import { throughRestart } from './patience.ts'
import {
  carryOut,
  clientOf,
  closeMover,
  commitCutover,
  endCopy,
  ensureMirror,
  followWishes,
  goOn,
  holderOf,
  isCommitted,
  isRecorded,
  jobOf,
  openHolder,
  openTarget,
  recordTruth,
  restartMirror,
} from './migration-holder.ts'
import { sealMove } from './seal-move.ts'

export interface MigrateVolumeInput {
  volumeId: string
  sourceImageId: string
  sourceFlexvolId: string
  targetFlexvolId: string
  /** Chosen at the request, so that every step knows it from the start. */
  targetImageId: string
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

export interface MigrateVolumePorts extends HeadPorts {
  volumes: Pick<VolumeRecords, 'get' | 'find' | 'update'>
  copies: Pick<CopyRecords, 'get' | 'find' | 'ofVolume' | 'create' | 'update' | 'remove' | 'changeTruth'>
  attachments: Pick<AttachmentRecords, 'ofVolume' | 'get'>
  flexvols: Pick<FlexVolRecords, 'get'>
  backend: Backend
  agents: Pick<Agents, 'holders' | 'compute'>
  places: Places
  policy: ConvergencePolicy
  /** What the copies under way look like. In memory: after a restart the samples are taken anew. */
  convergence: Map<string, Convergence>
  /** Milliseconds, from a clock that does not jump. */
  monotonic(): number
}

export const migrateVolume = operation<MigrateVolumeInput, MigrateVolumePorts>('volume.migrate', {
  version: 1,
})
  .holds((input) => [`volume/${input.volumeId}`])

  // Until the cutover the source is the truth and the target is nothing; everything here can be undone.
  .step('reserveTarget', {
    do: async ({ op, input, ports, now }) => {
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
    },
  })

  .step('createTarget', {
    do: async ({ op, input, ports }) => {
      await ports.backend.ensureImage(callerOf(op), await ports.copies.get(input.targetImageId))
      return null
    },
    undo: async ({ op, input, ports }) => {
      const target = await ports.copies.find(input.targetImageId)
      if (target === undefined) return
      // Here, and not where the mirror ends: a node that is gone for good must not keep the volume, and this can be
      // left out.
      const { holderId, machine } = await holderOf(ports, op, input.volumeId, input.sourceImageId)
      await ports.backend.revoke(callerOf(op), target, machine, holderId)
      await ports.backend.ensureNoImage(callerOf(op), target)
    },
    skipUndo: 'what was copied stays behind on the target as a stray, which nothing uses',
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
      // One that died since, and its supervisor with it, is started by nobody else: the volume is this operation's.
      await openHolder(ports, op, input.volumeId, input.sourceImageId)
      await ensureMirror(ports, op, out.openHolder, input.targetImageId)
      return null
    },
    undo: ({ op, out, ports }) => endCopy(ports, op, out.openHolder),
    retry: throughRestart,
  })

  .wait('inSync', {
    every: '250ms',
    // However long a copy takes; but not without anything being copied.
    stallTimeout: '15m',
    until: async ({ op, input, out, ports }) => {
      const holders = ports.agents.holders(out.openHolder.machine)
      const { holderId } = out.openHolder
      // The first look of this process: after a restart the holder is found again, and watched from here on.
      if (!ports.convergence.has(op.id)) {
        await openHolder(ports, op, input.volumeId, input.sourceImageId)
        ports.convergence.set(op.id, newConvergence())
      }
      const before = ports.convergence.get(op.id) ?? newConvergence()
      const status = await followWishes(holders, op, holderId, before.finalLap)
      const advance = [before.restarts, status.phase, status.doneBytes]
      if (status.phase === 'absent' || status.phase === 'failed' || status.phase === 'concluded') {
        // Its last cutover may have been committed by a control plane that was replaced, and that woke up once more.
        if ((await holders.cutoverDecision(callerOf(op), holderId, jobOf(op))) === 'committed')
          return { done: true, advance }
        await restartMirror(ports, op, input, out.openHolder, before, status.error)
        return { done: false, advance }
      }
      // Completion was asked for by an earlier process of ours: the cutover finds out how far it is.
      if (status.phase === 'pending' || status.phase === 'completing') {
        if (!op.control.paused) return { done: true, advance }
        // The client's I/O is held: not for as long as an operator thinks.
        await holders.abandonCutover(callerOf(op), holderId, jobOf(op))
        return { done: false, advance }
      }
      if (status.error !== undefined && !op.control.paused) {
        return await goOn(ports, op, holders, holderId, before, status.error)
      }
      const moved = await occupied(ports, input, status)
      const verdict = judge(
        before,
        { ...status, movedBytes: moved.doneBytes },
        ports.monotonic(),
        ports.policy,
      )
      ports.convergence.set(op.id, verdict.state)
      if (verdict.hopeless !== undefined) throw final(verdict.hopeless)
      if (verdict.shapeTo !== undefined) {
        await holders.ensureLimits(callerOf(op), holderId, { bpsWrite: verdict.shapeTo })
      }
      const progress: MigrationProgress = {
        phase: phaseOf(status.phase, verdict),
        ...moved,
        rateBps: Math.round(verdict.movedBps),
        leftBytes: Math.max(0, status.totalBytes - status.doneBytes),
        etaSeconds: verdict.etaSeconds,
        clientLimitBps: verdict.state.limitBps,
        mirrorRestarts: verdict.state.restarts,
      }
      return { done: verdict.converged, progress, advance }
    },
    retry: throughRestart,
  })

  .commit('cutover', {
    do: async ({ op, input, out, ports, now }) => {
      const { holderId, machine } = out.openHolder
      const holders = ports.agents.holders(machine)
      const caller = callerOf(op)
      // All that can be looked up before is: from `prepareCutover` on the client's I/O is held.
      const target = await openTarget(ports, op, out.openHolder, input.targetImageId)
      const source = await ports.copies.get(input.sourceImageId)
      await ports.volumes.update(input.volumeId, { migrationStatus: 'completing' })
      // A request that waits in the throttle filter is in flight, and the job is PENDING only if none was in flight when
      // it drained: a client that is held back would hold the cutover back for ever.
      if (ports.convergence.get(op.id)?.limitBps != null) await holders.ensureLimits(caller, holderId, {})
      const client = await clientOf(ports, input.volumeId, out.openHolder)
      const pending = await holders
        .prepareCutover(caller, holderId, jobOf(op), input.cutoverWindowMs, client)
        .catch((error: unknown) => {
          if (error instanceof DomainError && error.code === 'staleFence') throw error
          throw retryable(`The cutover was given up and the source goes on: ${messageOf(error)}`, error)
        })
      // The commit point. Before this line the source is the truth, after it the target.
      await commitCutover(ports, op, out.openHolder)
      // The same for everybody who asks the database, while I/O is held. It can't be undone any more: a database that does
      // not answer must not hold the client, and `settle` writes it before anything else.
      await recordTruth(ports, op, input, now()).catch((error: unknown) => {
        // Another control plane has taken over: it reads the register, too.
        if (error instanceof DomainError && error.code === 'staleFence') throw error
      })
      await ports.backend.revoke(caller, source, machine, holderId)
      const report = await holders.finalizeCutover(caller, holderId, jobOf(op), target)
      return {
        // A mover has no client that could wait.
        pauseMs: out.openHolder.isHead ? (report.quiescedMs ?? report.pauseMs) : null,
        pauseBoundMs: out.openHolder.isHead ? report.pauseMs : null,
        drainMs: pending.drainMs,
        finalizeMs: report.finalizeMs,
      }
    },
    happened: ({ op, input, out, ports }) => isCommitted(ports, op, input, out.openHolder),
    retryFrom: 'inSync',
    attempts: (input) => input.cutoverAttempts,
    backoff: { first: '1s', longest: '30s' },
  })

  // The target is the truth. From here on everything is repeated until it is done; there is no way back.
  .step('settle', {
    do: async ({ op, input, out, ports, now }) => {
      const { holderId, machine } = out.openHolder
      if (!(await isRecorded(ports, input))) await recordTruth(ports, op, input, now())
      // A crash came between the commit and the answer: what was decided is carried out.
      if (out.cutover === undefined) await carryOut(ports, op, input, out.openHolder)
      if (out.openHolder.isHead) {
        await openHolder(ports, op, input.volumeId, input.targetImageId)
        await ports.agents.holders(machine).ensureLimits(callerOf(op), holderId, {})
      } else {
        await closeMover(ports, op, machine, input.sourceImageId, input.targetImageId)
      }
      // What the target occupies is what was moved: a mirror counts the holes that it skips as done, too.
      const info = await ports.backend.imageInfo(await ports.copies.get(input.targetImageId))
      return { movedBytes: info?.allocatedBytes ?? 0 }
    },
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
      return sealed
    },
  })

/**
 * What the images occupy: the measure that is shown. A mirror's own figures count the holes of a thin volume as
 * copied, at some GiB per second. Only for show: a node that does not answer is no reason to fail, and the mirror's
 * figures stand in.
 */
async function occupied(
  ports: MigrateVolumePorts,
  input: MigrateVolumeInput,
  status: MirrorStatus,
): Promise<{ doneBytes: number; totalBytes: number }> {
  try {
    const [source, target] = await Promise.all(
      [input.sourceImageId, input.targetImageId].map(async (imageId) =>
        ports.backend.imageInfo(await ports.copies.get(imageId)),
      ),
    )
    const totalBytes = source?.allocatedBytes ?? 0
    return { doneBytes: Math.min(totalBytes, target?.allocatedBytes ?? 0), totalBytes }
  } catch {
    return { doneBytes: status.doneBytes, totalBytes: status.totalBytes }
  }
}

function phaseOf(phase: MirrorPhase, verdict: Verdict): MigrationProgress['phase'] {
  if (phase === 'paused') return 'paused'
  if (verdict.converged) return 'in-sync'
  return phase === 'ready' || verdict.state.finalLap ? 'catching-up' : 'copying'
}

/** For the record of what was moved; used by the dry run as well. */
export const reservationFor = (source: Copy, allocatedBytes: number): number =>
  Math.min(source.sizeBytes, allocatedBytes)
