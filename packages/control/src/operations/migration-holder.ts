/** What the steps of a relocation do with the holder: the head of the volume, or a mover. */
import {
  type ClientProcess,
  DomainError,
  messageOf,
  type HolderAgent,
  type MirrorStatus,
} from '@volant/contract'
import { final, retryable } from '@volant/saga'
import { newConvergence, type Convergence } from '../domain/convergence.ts'
import type { CopyToPace } from '../ports/copy-pace.ts'
import { callerOf } from './caller.ts'
import { tellUnlessEnded } from './copy-wish.ts'
import { isHeadFenced, unlessGivenUp } from './given-up.ts'
import { ensureHead } from './head.ts'
import type { Relocation, RelocationPorts } from './relocation.ts'

type Op = { id: string; fence: number }
type PacedOp = Op & { control: CopyToPace['control'] }

/** How often the mirror may be started anew before the migration gives up. */
const maxMirrorRestarts = 10

/** The holder of the volume: its head where it is attached, else a mover named after the operation. */
export interface Holder {
  holderId: string
  machine: string
  isHead: boolean
}

export const jobOf = (op: Op): string => `migrate-${op.id}`

/**
 * The head where the volume is attached; else a mover on the machine of the image it moves. By the records alone, which
 * do not change while the operation holds the volume.
 */
export async function holderOf(
  ports: RelocationPorts,
  op: Op,
  volumeId: string,
  imageId: string,
): Promise<Holder> {
  const [attachment] = await ports.attachments.ofVolume(volumeId)
  if (attachment !== undefined && attachment.host !== null) {
    const machine = ports.places.machineOf(attachment)
    return { holderId: attachment.headId, machine, isHead: true }
  }
  const copy = await ports.copies.get(imageId)
  return { holderId: op.id, machine: ports.places.machineOfNode(copy.node), isHead: false }
}

/** The holder, found running or started on the image. */
export async function openHolder(
  ports: RelocationPorts,
  op: Op,
  volumeId: string,
  imageId: string,
): Promise<Holder> {
  const holder = await holderOf(ports, op, volumeId, imageId)
  const { holderId, machine, isHead } = holder
  if (isHead) {
    const [attachment] = await ports.attachments.ofVolume(volumeId)
    if (attachment !== undefined) await ensureHead(ports, callerOf(op), attachment)
    return holder
  }
  const copy = await ports.copies.get(imageId)
  const image = await ports.backend.openFor(callerOf(op), copy, machine, holderId)
  await ports.agents.holders(machine).ensureHolder(callerOf(op), { holderId, volumeId, image, serves: false })
  return holder
}

/**
 * The process through which all of the client's I/O goes, the guest's or that of a share's block device: a cutover may hold
 * it for a moment. Undefined where it can't be told: then it goes without.
 */
export async function clientOf(
  ports: RelocationPorts,
  volumeId: string,
  { isHead }: Holder,
): Promise<ClientProcess | undefined> {
  if (!isHead) return undefined
  const [attachment] = await ports.attachments.ofVolume(volumeId)
  if (attachment === undefined || attachment.host === null) return undefined
  const { host, serverId, shareId } = attachment
  try {
    if (shareId !== null) return (await ports.agents.shares(host).shareStatus(shareId)).fileSystem?.client
    return serverId === null ? undefined : (await ports.agents.compute(host).guestStatus(serverId)).process
  } catch {
    return undefined
  }
}

/** Stops the mover, if there is one, and closes its exports: of both images, wherever they are. */
export async function closeMover(
  ports: RelocationPorts,
  op: Op,
  machine: string,
  ...imageIds: string[]
): Promise<void> {
  await ports.agents.holders(machine).ensureNoHolder(callerOf(op), op.id)
  for (const imageId of imageIds) {
    const copy = await ports.copies.find(imageId)
    if (copy !== undefined) await ports.backend.revoke(callerOf(op), copy, machine, op.id)
  }
}

/**
 * The source stays the truth: the mirror ends, and the client is let go. A head that died at the cutover is started
 * again, for nobody else may: see "Nobody starts a holder" in the protocol.
 */
export async function endCopy(
  ports: RelocationPorts,
  op: Op,
  { holderId, machine, isHead }: Holder,
): Promise<void> {
  // The head's host may have been given up: then nothing of it reaches either image any more.
  await unlessGivenUp(isHeadFenced(ports, holderId), () =>
    endMirror(ports, op, { holderId, machine, isHead }),
  )
}

async function endMirror(
  ports: RelocationPorts,
  op: Op,
  { holderId, machine, isHead }: Holder,
): Promise<void> {
  const holders = ports.agents.holders(machine)
  const isAlive = (await holders.holderStatus(holderId)) !== undefined
  // Of a holder that is dead at the moment, too: what is written down of a mirror outlives its daemon.
  await holders.ensureNoMirror(callerOf(op), holderId, jobOf(op))
  if (isAlive) {
    await holders.ensureLimits(callerOf(op), holderId, {})
  } else if (isHead) {
    await holders.abandonCutover(callerOf(op), holderId, jobOf(op)).catch((error: unknown) => {
      if (!(error instanceof DomainError) || error.code !== 'notFound') throw error
    })
  }
}

/**
 * Writes `committed` into the register. Where that fails, and it was not written all the same, the source goes on and
 * the cutover is worth another attempt: the guard may have been first, or be gone.
 */
export async function commitCutover(
  ports: RelocationPorts,
  op: Op,
  { holderId, machine }: Holder,
): Promise<void> {
  const holders = ports.agents.holders(machine)
  try {
    await holders.commitCutover(callerOf(op), holderId, jobOf(op))
  } catch (error) {
    if (error instanceof DomainError && error.code === 'staleFence') throw error
    // The answer can be lost after it took effect: that is asked, not guessed.
    if ((await holders.cutoverDecision(callerOf(op), holderId, jobOf(op))) === 'committed') return
    await holders.abandonCutover(callerOf(op), holderId, jobOf(op))
    throw retryable(`The cutover was given up and the source goes on: ${messageOf(error)}`, error)
  }
}

/**
 * The record names the target, or the register says `committed` and the record could not be written. Throws where the
 * holder's agent does not answer and the record names the source: that proves nothing.
 */
export async function isCommitted(
  ports: RelocationPorts,
  op: Op,
  input: Relocation,
  { holderId, machine }: Holder,
): Promise<boolean> {
  if (await isRecorded(ports, input)) return true
  return (
    (await ports.agents.holders(machine).cutoverDecision(callerOf(op), holderId, jobOf(op))) === 'committed'
  )
}

export const isRecorded = async (ports: RelocationPorts, input: Relocation): Promise<boolean> =>
  (await ports.volumes.get(input.volumeId)).imageId === input.targetImageId

/** The volume's truth for everybody who asks the database. Only after the commit; repeated it changes nothing. */
export async function recordTruth(
  ports: { copies: Pick<RelocationPorts['copies'], 'changeTruth'> },
  op: Op,
  input: Relocation,
  /** Until when the source is kept: ISO 8601. */
  retainedUntil: string,
): Promise<void> {
  await ports.copies.changeTruth({
    volumeId: input.volumeId,
    fromImageId: input.sourceImageId,
    toImageId: input.targetImageId,
    operationId: op.id,
    fence: op.fence,
    retainedUntil,
  })
}

/** As `recordTruth` wants it. */
export const keptFor = (seconds: number, from: Date): string =>
  new Date(from.getTime() + seconds * 1000).toISOString()

/**
 * The cutover is committed, and nobody knows how far the holder came. The source is taken away first, as in the
 * cutover itself; one whose node does not answer must not hold the client, and `settle` asks for it again.
 */
export async function carryOut(
  ports: RelocationPorts,
  op: Op,
  input: Relocation,
  holder: Holder,
): Promise<void> {
  const { holderId, machine } = holder
  const holders = ports.agents.holders(machine)
  const source = await ports.copies.find(input.sourceImageId)
  if (source !== undefined) {
    await ports.backend.revoke(callerOf(op), source, machine, holderId).catch(() => false)
  }
  // A dead one comes up on the target in `openHolder`; one that stands there has nothing left to decide.
  const status = await holders.holderStatus(holderId)
  if (status === undefined || status.imageId === input.targetImageId) return
  const target = await openTarget(ports, op, holder, input.targetImageId)
  await holders.finalizeCutover(callerOf(op), holderId, jobOf(op), target)
}

export const openTarget = async (ports: RelocationPorts, op: Op, holder: Holder, targetImageId: string) =>
  ports.backend.openFor(callerOf(op), await ports.copies.get(targetImageId), holder.machine, holder.holderId)

export async function ensureMirror(
  ports: RelocationPorts,
  op: Op,
  holder: Holder,
  targetImageId: string,
  how: { rate: number; inFlightBytes?: number; changesOnly?: boolean },
): Promise<void> {
  const target = await openTarget(ports, op, holder, targetImageId)
  await ports.agents.holders(holder.machine).ensureMirror(callerOf(op), {
    holderId: holder.holderId,
    jobId: jobOf(op),
    target,
    ...how,
  })
}

export async function startMirror(
  ports: RelocationPorts,
  op: PacedOp,
  input: Relocation,
  holder: Holder,
  how: { changesOnly?: boolean } = {},
): Promise<void> {
  // One that died since, and its supervisor with it, is started by nobody else: the volume is this operation's.
  await openHolder(ports, op, input.volumeId, input.sourceImageId)
  await ensureMirror(ports, op, holder, input.targetImageId, {
    ...how,
    ...(await firstPace(ports, op, input)),
  })
  // Found and watched by this process: its first look need not open it once more.
  ports.convergence.set(op.id, newConvergence())
}

/** What the mirror may do at first, once it is known what its client waits for without it. */
async function firstPace(
  ports: RelocationPorts,
  op: PacedOp,
  input: Relocation,
): Promise<{ rate: number; inFlightBytes?: number }> {
  const copy = await copyToPace(ports, op, input)
  const rate = await ports.pace.begin(copy)
  const inFlightBytes = ports.pace.inFlightBytes(copy)
  return { rate, ...(inFlightBytes === undefined ? {} : { inFlightBytes }) }
}

export const copyToPace = async (
  { copies }: Pick<RelocationPorts, 'copies'>,
  { id, control }: Pick<PacedOp, 'id' | 'control'>,
  { volumeId, sourceImageId, targetImageId }: Relocation,
): Promise<CopyToPace> => ({
  id,
  control,
  volumeId,
  from: await copies.get(sourceImageId),
  to: await copies.get(targetImageId),
})

/** Why the undo that removes the target may be left out. */
export const targetStays = 'what was copied stays behind on the target as a stray, which nothing uses'

/**
 * Takes the holder's access to the target away, and removes it. Not where the mirror ends: a node that is gone for good
 * must not keep the volume, and this can be left out.
 */
export async function removeTarget(ports: RelocationPorts, op: Op, input: Relocation): Promise<void> {
  const target = await ports.copies.find(input.targetImageId)
  if (target === undefined) return
  const { holderId, machine } = await holderOf(ports, op, input.volumeId, input.sourceImageId)
  await ports.backend.revoke(callerOf(op), target, machine, holderId)
  await ports.backend.ensureNoImage(callerOf(op), target)
}

/** Brings rate and pause to the job, and tells how it is with them: one question where nothing changes. */
export async function followWishes(
  holders: HolderAgent,
  op: PacedOp,
  holderId: string,
  status: MirrorStatus,
  rate: number,
): Promise<MirrorStatus> {
  if (status.phase !== 'copying' && status.phase !== 'ready' && status.phase !== 'paused') return status
  const { paused } = op.control
  if (status.rate === rate && status.pausedByUser === paused) return status
  await tellUnlessEnded(async () => {
    if (status.rate !== rate) await holders.setMirrorRate(callerOf(op), holderId, jobOf(op), rate)
    if (status.pausedByUser !== paused) {
      await holders.ensureMirrorPaused(callerOf(op), holderId, jobOf(op), paused)
    }
  })
  return await holders.mirrorStatus(holderId, jobOf(op))
}

/** An error of the target stopped the job: it is told to try again, so often and no more. */
export async function goOn(
  ports: RelocationPorts,
  op: Op,
  holders: HolderAgent,
  holderId: string,
  before: Convergence,
  reason: string,
): Promise<never> {
  const restarts = before.restarts + 1
  if (restarts > maxMirrorRestarts) {
    throw final(`The copy stopped ${maxMirrorRestarts} times, at last with: ${reason}`)
  }
  ports.convergence.set(op.id, { ...newConvergence(), limitBps: before.limitBps, restarts })
  await tellUnlessEnded(() => holders.ensureMirrorPaused(callerOf(op), holderId, jobOf(op), false))
  throw retryable(`The copy stopped and was told to go on: ${reason}`)
}

/** The job is gone: the holder died and was started again on the source, or the job failed. */
export async function restartMirror(
  ports: RelocationPorts,
  op: PacedOp,
  input: Relocation,
  holder: Holder,
  before: Convergence,
  reason: string | undefined,
): Promise<void> {
  const restarts = before.restarts + 1
  if (restarts > maxMirrorRestarts) {
    throw final(`The copy failed ${maxMirrorRestarts} times, at last with: ${reason ?? 'the job is gone'}`)
  }
  ports.convergence.set(op.id, { ...newConvergence(), restarts })
  const holders = ports.agents.holders(holder.machine)
  await openHolder(ports, op, input.volumeId, input.sourceImageId)
  await holders.ensureNoMirror(callerOf(op), holder.holderId, jobOf(op))
  await ensureMirror(ports, op, holder, input.targetImageId, await firstPace(ports, op, input))
  if (reason !== undefined) throw retryable(`The copy failed and was started again: ${reason}`)
}
