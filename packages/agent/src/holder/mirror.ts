import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError, messageOf } from '@volant/contract'
import type { MirrorPhase, MirrorRequest, MirrorStatus } from '@volant/contract'
import { probeAio } from '@volant/qemu/capabilities.ts'
import { QmpError } from '@volant/qemu/qmp.ts'
import { imageBlockdev, mirrorArguments, reconnectDelay } from '@volant/qemu/storage-daemon.ts'
import { freeNodeName, isNodeOf, readGraph } from './graph.ts'
import type { Holder } from './holder.ts'
import { checkImage } from './image-access.ts'
import { requireInFlight } from './in-flight.ts'

/** An entry of `query-block-jobs`. */
export interface BlockJob {
  device: string
  status: string
  offset: number
  len: number
  speed: number
  'io-status': 'ok' | 'failed' | 'nospace'
  error?: string
}

/** QEMU's ids begin with a letter. */
export const qemuJobId = (jobId: string): string => `m-${jobId}`

export async function findJob(
  holder: Holder,
  jobId: string,
  timeoutMs = 5000,
): Promise<BlockJob | undefined> {
  const jobs = (await holder.qmp.execute('query-block-jobs', {}, timeoutMs)) as BlockJob[]
  return jobs.find((job) => job.device === qemuJobId(jobId))
}

/** A mirror of another operation whose job died with its daemon is over; nobody may come to say so. */
async function forgetLostMirror(holder: Holder, jobId: string): Promise<void> {
  const { mirror, cutover } = holder.record
  if (!mirror || mirror.jobId === jobId || cutover) return
  if (!(await findJob(holder, mirror.jobId))) await endMirror(holder, mirror.jobId)
}

/** Opens the target, checks its identity and starts the mirror; one that is there and well is left as it is. */
export async function startMirror(holder: Holder, request: MirrorRequest): Promise<void> {
  const { jobId, target, rate, changesOnly = false } = request
  const buffer = requireInFlight(request)
  await forgetLostMirror(holder, jobId)
  const { mirror, cutover } = holder.record
  const { image } = holder
  if (mirror && mirror.jobId !== jobId) {
    throw new DomainError(
      'conflict',
      `Holder ${holder.id} already copies for ${mirror.jobId}; end that first.`,
    )
  }
  if (cutover && cutover.jobId !== jobId) {
    throw new DomainError('conflict', `Holder ${holder.id} is at the cutover of ${cutover.jobId}.`)
  }
  if (mirror && mirror.target.imageId !== target.imageId) {
    throw new DomainError(
      'conflict',
      `Mirror ${jobId} copies to image ${mirror.target.imageId}, not ${target.imageId}.`,
    )
  }
  if (mirror && (mirror.changesOnly ?? false) !== changesOnly) {
    throw new DomainError(
      'conflict',
      `Mirror ${jobId} copies ${changesOnly ? 'the whole image' : 'changes only'}; end that first.`,
    )
  }
  if (target.imageId === image.imageId)
    throw new DomainError('invalid', 'Source and target are the same image.')
  if (target.sizeBytes !== image.sizeBytes) {
    throw new DomainError(
      'conflict',
      `Source and target image have different sizes: ${image.sizeBytes} and ${target.sizeBytes} bytes.`,
    )
  }
  const job = await findJob(holder, jobId)
  if (job && job.status !== 'concluded') {
    if (mirror?.isToRest === true) await bringToRest(holder, jobId)
    return
  }
  await endMirror(holder, jobId) // what a failed attempt left
  // A daemon that was started by a version without cutover guards: a pause for its client, and nothing is lost yet.
  if (!existsSync(holder.guardPath)) await holder.restartOn(holder.image)
  await checkImage(target, holder.context.network)
  if (target.kind === 'nbd') await holder.ensureTlsCredentials()
  const kind = changesOnly ? ({ changesOnly, isToRest: true } as const) : {}
  await holder.save({ mirror: { jobId, target, ...kind } })
  const graph = await readGraph(holder.qmp)
  if (graph.standsOn === undefined)
    throw new DomainError('internal', `Holder ${holder.id} has no image node.`)
  const nodeName = freeNodeName(target.imageId, graph.nodeNames)
  const { aio } = await probeAio()
  const options = { nodeName, aio, reconnectDelaySeconds: reconnectDelay.mirrorTarget, makesHoles: true }
  await holder.qmp.execute('blockdev-add', imageBlockdev(target, options))
  try {
    const copy = { rate, besideClient: holder.record.serves, changesOnly, ...buffer }
    const args = mirrorArguments(qemuJobId(jobId), nodeName, graph.standsOn, copy)
    await holder.qmp.execute('blockdev-mirror', args)
  } catch (error) {
    if (error instanceof QmpError) await holder.closeNode(nodeName)
    throw error
  }
  if (changesOnly) await bringToRest(holder, jobId)
}

/** Bound for a target's answers to what was on its way when the job was told to rest. Milliseconds. */
const restPatienceMs = 10_000

/**
 * Returns when the job rests. From its start on its bitmap, which nothing stops, notes each write of the client when
 * that ends (QEMU's block/io.c), and a job that reads `paused` (`standby`, once it was ready) has nothing in flight to
 * its target: before QEMU says so, `mirror_pause` waits for all of it, and the next round begins only after the resume
 * (block/mirror.c, job_pause_point in job.c). What was copied between the start and the rest is older than
 * the return of this call, and so than the instant that the caller brings the target up to.
 */
async function bringToRest(holder: Holder, jobId: string): Promise<void> {
  await pauseMirror(holder, jobId, true)
  for (const end = performance.now() + restPatienceMs; ; await sleep(5)) {
    const job = await requireJob(holder, jobId)
    const error = errorOf(job)
    if (error !== undefined) {
      await endMirror(holder, jobId)
      throw new DomainError('unavailable', `Mirror ${jobId} did not come to rest: ${error}`)
    }
    if (isPaused(job)) return
    if (performance.now() > end) {
      throw new DomainError(
        'unavailable',
        `Mirror ${jobId} did not come to rest within ${restPatienceMs} ms.`,
      )
    }
  }
}

const isPaused = (job: BlockJob): boolean => job.status === 'paused' || job.status === 'standby'

/**
 * Cancels the job by force, waits until it is gone and closes the target; the client's I/O goes on at the source.
 * After a finalized cutover there is nothing left to cancel, and the image that the export stands on stays open.
 * Throws `conflict` where the cutover is committed.
 */
export async function endMirror(holder: Holder, jobId: string, cancelTimeoutMs = 3000): Promise<void> {
  const id = qemuJobId(jobId)
  // Before the job is touched: from here on nobody can commit this attempt any more.
  if (holder.record.cutover?.jobId === jobId) await holder.decide('abandoned')
  holder.completing = undefined
  holder.quiescedAtMs = undefined
  if (await findJob(holder, jobId)) {
    await cancelAndWait(holder, id, cancelTimeoutMs)
    await holder.qmp.execute('job-dismiss', { id }).catch(tolerateMissing)
  }
  const target = holder.record.mirror?.jobId === jobId ? holder.record.mirror.target : undefined
  if (target) {
    const { standsOn } = await readGraph(holder.qmp)
    if (isNodeOf(standsOn, target.imageId)) await holder.save({ image: target })
    else await closeImage(holder, target.imageId)
  }
  if (target || holder.record.cutover?.jobId === jobId) await holder.forget('mirror', 'cutover')
}

/**
 * The same, for a caller that must get an end: a target that hangs can hold the daemon's monitor up for ever, and
 * then the daemon is started again without it, a short pause for the client. Not during a cutover, where only
 * the caller's word on the truth allows that (`abandonCutover`, `finalizeCutover`).
 */
export async function dropMirror(holder: Holder, jobId: string): Promise<void> {
  try {
    await endMirror(holder, jobId)
  } catch (error) {
    if (holder.record.cutover || holder.record.mirror?.jobId !== jobId) throw error
    holder.context.log.warn(
      { holderId: holder.id, jobId, reason: messageOf(error) },
      'mirror is ended by a restart',
    )
    await holder.restartOn(holder.image)
  }
}

/** Closes the nodes of an image that the export does not stand on. */
export async function closeImage(holder: Holder, imageId: string): Promise<void> {
  const graph = await readGraph(holder.qmp)
  for (const name of graph.nodeNames) {
    if (!isNodeOf(name, imageId) || name === graph.standsOn) continue
    if (await holder.closeNode(name)) continue
    throw new DomainError('unavailable', `The target image ${imageId} is still being closed; try again.`)
  }
}

/** `block-job-cancel`, without force, is the good end of a mirror that is ready. */
export async function cancelAndWait(
  holder: Holder,
  id: string,
  timeoutMs: number,
  how: 'job-cancel' | 'block-job-cancel' = 'job-cancel',
): Promise<void> {
  const { qmp } = holder
  const concluded = qmp.expect(
    'JOB_STATUS_CHANGE',
    ({ data }) => data['id'] === id && data['status'] === 'concluded',
    timeoutMs,
  )
  try {
    await qmp.execute(how, how === 'job-cancel' ? { id } : { device: id })
    await concluded.event
  } catch (error) {
    // A job that has already concluded refuses to be cancelled.
    if (!(error instanceof QmpError)) throw error
    for (const end = performance.now() + timeoutMs; performance.now() < end; await sleep(5)) {
      const jobs = (await qmp.execute('query-jobs')) as { id: string; status: string }[]
      const job = jobs.find((candidate) => candidate.id === id)
      if (!job || job.status === 'concluded') return
    }
    throw error
  } finally {
    concluded.cancel()
  }
}

export const tolerateMissing = (error: unknown): void => {
  if (!(error instanceof QmpError)) throw error
}

export async function mirrorStatus(holder: Holder, jobId: string): Promise<MirrorStatus> {
  const known = holder.record.mirror?.jobId === jobId
  const none: MirrorStatus = { phase: 'absent', doneBytes: 0, totalBytes: 0, rate: 0, pausedByUser: false }
  const lost: MirrorStatus = {
    ...none,
    phase: 'failed',
    error: 'The copy ended with its storage daemon; start it again.',
  }
  // Between the daemon's death and its next start there is nothing to ask, and the job is gone already.
  if (!holder.daemon.isAlive) return known ? lost : none
  const job = await findJob(holder, jobId)
  if (!job) return known ? lost : none
  const error = errorOf(job)
  return {
    phase: phaseOf(job, holder.completing === jobId),
    doneBytes: job.offset,
    totalBytes: job.len,
    rate: job.speed,
    pausedByUser: isPaused(job) && job['io-status'] === 'ok',
    ...(error === undefined ? {} : { error }),
  }
}

export function errorOf(job: BlockJob): string | undefined {
  if (job.error !== undefined) return job.error
  if (job['io-status'] === 'nospace') return 'The target has no space left.'
  if (job['io-status'] === 'failed') return 'The target does not accept writes.'
  return undefined
}

function phaseOf(job: BlockJob, completing: boolean): MirrorPhase {
  switch (job.status) {
    case 'created':
    case 'running':
      return completing ? 'completing' : 'copying'
    case 'ready':
      return completing ? 'completing' : 'ready'
    case 'paused':
    case 'standby':
      return 'paused'
    case 'waiting':
      return 'completing'
    case 'pending':
      return 'pending'
    case 'aborting':
      return 'failed'
    default:
      return job.error === undefined ? 'concluded' : 'failed'
  }
}

export async function setMirrorRate(holder: Holder, jobId: string, rate: number): Promise<void> {
  await requireJob(holder, jobId)
  await holder.qmp.execute('block-job-set-speed', { device: qemuJobId(jobId), speed: rate })
}

/** Pauses or goes on; going on also lets a job that an error stopped try again. */
export async function pauseMirror(holder: Holder, jobId: string, paused: boolean): Promise<void> {
  await requireJob(holder, jobId)
  const { mirror } = holder.record
  if (!paused && mirror?.jobId === jobId && mirror.isToRest === true) {
    const { isToRest: _, ...goesOn } = mirror
    await holder.save({ mirror: goesOn })
  }
  const command = paused ? 'block-job-pause' : 'block-job-resume'
  try {
    await holder.qmp.execute(command, { device: qemuJobId(jobId) })
  } catch (error) {
    // Not skipped by what the job reads: it reads `running` until it has come to rest, which takes as long as its
    // target does not answer, and `paused` for a moment also where the daemon drains its images.
    if (!(error instanceof QmpError) || !isSoAlready.test(error.desc)) throw error
  }
}

const isSoAlready = /already paused|job that was not paused/

export async function requireJob(holder: Holder, jobId: string): Promise<BlockJob> {
  const job = await findJob(holder, jobId)
  if (job) return job
  throw new DomainError(
    'notFound',
    `Holder ${holder.id} has no mirror ${jobId}; it ended or was never started.`,
  )
}
