/**
 * The relocation protocol, as every operation carries it out that moves an image under its holder: a volume's migration
 * to another pool, and the move of its FlexVol to another aggregate. What comes before and after differs; how the copy is
 * followed, cut over and settled does not. docs/protocol/volume-migration.md has the reasons.
 */
import { DomainError, messageOf, type MirrorPhase, type MirrorStatus } from '@volant/contract'
import { final, retryable } from '@volant/saga'
import {
  judge,
  newConvergence,
  type Convergence,
  type ConvergencePolicy,
  type Verdict,
} from '../domain/convergence.ts'
import { nextLookMs } from '../domain/look-interval.ts'
import type { MigrationProgress } from '../domain/migration-progress.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { CopyPace, CopyToPace, Paced } from '../ports/copy-pace.ts'
import type { Places } from '../ports/places.ts'
import type { AttachmentRecords, CopyRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { isHeadFenced, unlessGivenUp } from './given-up.ts'
import type { HeadPorts } from './head.ts'
import {
  carryOut,
  clientOf,
  closeMover,
  commitCutover,
  copyToPace,
  followWishes,
  goOn,
  isRecorded,
  jobOf,
  openHolder,
  openTarget,
  recordTruth,
  restartMirror,
  type Holder,
} from './migration-holder.ts'

/** An image of a volume takes the place of another one. */
export interface Relocation {
  volumeId: string
  sourceImageId: string
  /** Chosen at the request, so that every step knows it from the start. */
  targetImageId: string
}

export interface RelocationPorts extends HeadPorts {
  volumes: Pick<VolumeRecords, 'get'>
  copies: Pick<CopyRecords, 'get' | 'find' | 'ofVolume' | 'changeTruth' | 'rehearseTruth'>
  attachments: Pick<AttachmentRecords, 'ofVolume' | 'get'>
  backend: Backend
  agents: Pick<Agents, 'holders' | 'compute' | 'shares'>
  places: Places
  policy: ConvergencePolicy
  /** What the copies under way look like. In memory: after a restart the samples are taken anew. */
  convergence: Map<string, Convergence>
  pace: CopyPace
  /** Milliseconds, from a clock that does not jump. */
  monotonic(): number
}

interface Op {
  id: string
  fence: number
  control: CopyToPace['control']
}

export interface CopyWishes {
  /** In sync it waits for somebody's word: its client is not shaped, and it does not come true. */
  isHeld?: boolean
  /** A mirror that is gone is not started anew, for its target can't be brought up to date any more. */
  mustNotRestart?: boolean
  /** What was copied before the mirror went on, in bytes; then its own figures tell the rest, for it skips no holes. */
  broughtUpBytes?: number
  /** The mirror is about to be started anew. */
  onRestart?: () => Promise<void>
}

interface CopyLook {
  done: boolean
  advance: unknown
  progress?: MigrationProgress
  /** Milliseconds; absent: as the wait says. */
  again?: number
}

/** One look at the copy of a wait: it follows the operator's wishes, restarts and shapes, and tells how far it is. */
export async function lookAtCopy(
  ports: RelocationPorts,
  op: Op,
  input: Relocation,
  holder: Holder,
  wishes: CopyWishes = {},
): Promise<CopyLook> {
  const holders = ports.agents.holders(holder.machine)
  const { holderId } = holder
  // The first look of this process: after a restart the holder is found again, and watched from here on.
  if (!ports.convergence.has(op.id)) {
    await openHolder(ports, op, input.volumeId, input.sourceImageId)
    ports.convergence.set(op.id, newConvergence())
  }
  const before = ports.convergence.get(op.id) ?? newConvergence()
  const found = await holders.mirrorStatus(holderId, jobOf(op))
  const movedBytes = before.samples.at(-1)?.movedBytes
  const paced = await ports.pace.at(await copyToPace(ports, op, input), {
    doneBytes: found.doneBytes,
    // Of what the client changes again the target's size says nothing.
    ...(found.phase === 'copying' && movedBytes !== undefined && { movedBytes }),
    leastBps: before.leastBps,
    isShaped: before.limitBps !== null,
  })
  const status = await followWishes(holders, op, holderId, found, before.finalLap ? 0 : paced.rate)
  const advance = [before.restarts, status.phase, status.doneBytes]
  if (status.phase === 'absent' || status.phase === 'failed' || status.phase === 'concluded') {
    // Its last cutover may have been committed by a control plane that was replaced, and that woke up once more.
    if ((await holders.cutoverDecision(callerOf(op), holderId, jobOf(op))) === 'committed')
      return { done: true, advance }
    if (wishes.mustNotRestart === true) {
      throw final(`The copy is lost, and has to be made anew: ${status.error ?? 'its job is gone'}`)
    }
    await wishes.onRestart?.()
    await restartMirror(ports, op, input, holder, before, status.error)
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
  return await judged(ports, op, input, holder, wishes, before, status, paced)
}

/** What the samples say of the copy, and what follows for the client. */
async function judged(
  ports: RelocationPorts,
  op: Op,
  input: Relocation,
  holder: Holder,
  wishes: CopyWishes,
  before: Convergence,
  status: MirrorStatus,
  paced: Paced,
): Promise<CopyLook> {
  const { broughtUpBytes } = wishes
  const moved =
    broughtUpBytes === undefined
      ? await occupied(ports, input, status)
      : { doneBytes: broughtUpBytes + status.doneBytes, totalBytes: broughtUpBytes + status.totalBytes }
  const now = ports.monotonic()
  const verdict = judge(
    before,
    { ...status, movedBytes: moved.doneBytes },
    now,
    ports.policy,
    paced.isGoverned,
  )
  const isHeld = wishes.isHeld === true
  // One that is held may wait for days: a client that outruns it meanwhile is left alone.
  const { limitBps, leastBps } = before
  ports.convergence.set(op.id, isHeld ? { ...verdict.state, limitBps, leastBps } : verdict.state)
  if (!isHeld) {
    if (verdict.hopeless !== undefined) throw final(verdict.hopeless)
    if (verdict.shapeTo !== undefined) {
      const limits = { bpsWrite: verdict.shapeTo }
      await ports.agents.holders(holder.machine).ensureLimits(callerOf(op), holder.holderId, limits)
    }
  }
  const progress: MigrationProgress = {
    phase: phaseOf(status.phase, verdict),
    ...moved,
    rateBps: Math.round(verdict.movedBps),
    leftBytes: Math.max(0, status.totalBytes - status.doneBytes),
    etaSeconds: verdict.etaSeconds,
    clientLimitBps: verdict.state.limitBps,
    mirrorRestarts: verdict.state.restarts,
    pace: paced.view,
  }
  const advance = [before.restarts, status.phase, status.doneBytes]
  const again = nextLookMs(now - (verdict.state.firstLookAt ?? now))
  return {
    done: verdict.converged && !isHeld,
    progress,
    // What is held stands still at somebody's wish.
    advance: isHeld ? [...advance, now] : advance,
    ...(again !== undefined && { again }),
  }
}

export interface CutoverOutcome {
  /** Milliseconds; null: there was no client. */
  pauseMs: number | null
  pauseBoundMs: number | null
  drainMs: number
  finalizeMs: number
}

/** The two-phase commit, up to its end. It throws `retryable` where the cutover was given up and the source goes on. */
export async function cutOver(
  ports: RelocationPorts,
  op: Op,
  input: Relocation,
  holder: Holder,
  windowMs: number,
  retainedUntil: () => string,
): Promise<CutoverOutcome> {
  const { holderId, machine, isHead } = holder
  const holders = ports.agents.holders(machine)
  const caller = callerOf(op)
  // All that can be looked up before is: from `prepareCutover` on the client's I/O is held.
  const target = await openTarget(ports, op, holder, input.targetImageId)
  const source = await ports.copies.get(input.sourceImageId)
  // A request that waits in the throttle filter is in flight, and the job is PENDING only if none was in flight when
  // it drained: a client that is held back would hold the cutover back for ever.
  if (ports.convergence.get(op.id)?.limitBps != null) await holders.ensureLimits(caller, holderId, {})
  const client = await clientOf(ports, input.volumeId, holder)
  // Only a rehearsal: whether the database answers is found out when it has to.
  await ports.copies.rehearseTruth().catch(() => {})
  const pending = await holders
    .prepareCutover(caller, holderId, jobOf(op), windowMs, client)
    .catch((error: unknown) => {
      if (error instanceof DomainError && error.code === 'staleFence') throw error
      throw retryable(`The cutover was given up and the source goes on: ${messageOf(error)}`, error)
    })
  // The commit point. Before this line the source is the truth, after it the target.
  await commitCutover(ports, op, holder)
  // The same for everybody who asks the database, while I/O is held. It can't be undone any more: a database that does
  // not answer must not hold the client, and `settle` writes it before anything else.
  await recordTruth(ports, op, input, retainedUntil()).catch((error: unknown) => {
    // Another control plane has taken over: it reads the register, too.
    if (error instanceof DomainError && error.code === 'staleFence') throw error
  })
  await ports.backend.revoke(caller, source, machine, holderId)
  const report = await holders.finalizeCutover(caller, holderId, jobOf(op), target)
  return {
    // A mover has no client that could wait.
    pauseMs: isHead ? (report.quiescedMs ?? report.pauseMs) : null,
    pauseBoundMs: isHead ? report.pauseMs : null,
    drainMs: pending.drainMs,
    finalizeMs: report.finalizeMs,
  }
}

/** The target is the truth: everything that knows another one is told, however far the cutover itself came. */
export async function settleOnTarget(
  ports: RelocationPorts,
  op: Op,
  input: Relocation,
  holder: Holder,
  wasAnswered: boolean,
  retainedUntil: string,
): Promise<{ movedBytes: number }> {
  const { holderId, machine, isHead } = holder
  if (!(await isRecorded(ports, input))) await recordTruth(ports, op, input, retainedUntil)
  if (isHead) {
    // A head whose host was given up is not told: the next one comes up on the target.
    await unlessGivenUp(isHeadFenced(ports, holderId), async () => {
      // A crash came between the commit and the answer: what was decided is carried out.
      if (!wasAnswered) await carryOut(ports, op, input, holder)
      await openHolder(ports, op, input.volumeId, input.targetImageId)
      await ports.agents.holders(machine).ensureLimits(callerOf(op), holderId, {})
    })
  } else {
    if (!wasAnswered) await carryOut(ports, op, input, holder)
    await closeMover(ports, op, machine, input.sourceImageId, input.targetImageId)
  }
  // What the target occupies is what was moved: a mirror counts the holes that it skips as done, too.
  const info = await ports.backend.imageInfo(await ports.copies.get(input.targetImageId))
  return { movedBytes: info?.allocatedBytes ?? 0 }
}

/**
 * What the images occupy: the measure that is shown. A mirror's own figures count the holes of a thin volume as
 * copied, at some GiB per second. Only for show: a node that does not answer is no reason to fail, and the mirror's
 * figures stand in.
 */
async function occupied(
  ports: RelocationPorts,
  input: Relocation,
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
