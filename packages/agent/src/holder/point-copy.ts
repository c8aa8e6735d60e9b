/**
 * # A copy of the image as it is at one instant, while its client writes on
 *
 * ```
 *     export → throttle → copy-before-write → image        the client: what a write replaces goes to the target first
 *                              │         └──▶ target
 *              mirror ── snapshot-access                   the rest: the image as it was at the instant
 *                └──▶ target, opened a second time
 * ```
 *
 * QEMU 7.2's `blockdev-backup` puts a filter of its own into the graph, which fails the client's write where the target
 * does not take what it replaces, and copies what is empty as zeroes that occupy space. So the filter is inserted
 * here, with `on-cbw-error=break-snapshot` and a time limit: a target in trouble costs the copy and never a write. And a
 * mirror copies what is left, which keeps the target thin. Only what the client writes to during the copy is
 * written to the target 64 KiB at a time, empty or not.
 *
 * Filter and mirror may write the same place at the same time, and it is the same bytes: both of the instant.
 */
import { DomainError, messageOf } from '@volant/contract'
import type { PointCopyRequest, PointCopyStatus } from '@volant/contract'
import { probeAio } from '@volant/qemu/capabilities.ts'
import {
  copyBeforeWriteBlockdev,
  daemonNames,
  imageBlockdev,
  instantBlockdev,
  mirrorArguments,
  reconnectDelay,
  throttleBlockdev,
} from '@volant/qemu/storage-daemon.ts'
import { freeNodeName, readGraph } from './graph.ts'
import type { Holder } from './holder.ts'
import { checkImage, openProbe } from './image-access.ts'
import { requireInFlight } from './in-flight.ts'
import { cancelAndWait, closeImage, errorOf, findJob, qemuJobId, tolerateMissing } from './mirror.ts'
import type { BlockJob } from './mirror.ts'

/** Bounds, in milliseconds, for the target's flush, for a job to end by itself, and for one to end by force. */
const flushTimeoutMs = 10_000
const endTimeoutMs = 10_000
const cancelTimeoutMs = 3000

const lost = 'The copy ended with its storage daemon; start it again.'

/** The job of the copy that is under way; undefined: none is, whatever the record says. */
export async function pointCopyUnderWay(holder: Holder): Promise<BlockJob | undefined> {
  const { pointCopy } = holder.record
  if (!pointCopy || pointCopy.outcome !== undefined || !holder.daemon.isAlive) return undefined
  return findJob(holder, pointCopy.jobId)
}

/** A mirror stands where the copy's filter does. One that failed or was lost is cleared away. */
export async function requireNoPointCopy(holder: Holder): Promise<void> {
  const { pointCopy } = holder.record
  if (!pointCopy || pointCopy.outcome !== undefined) return
  const job = await pointCopyUnderWay(holder)
  if (job && job.status !== 'concluded') {
    throw new DomainError('conflict', `Holder ${holder.id} copies an instant for ${pointCopy.jobId}.`)
  }
  await dropPointCopy(holder, pointCopy.jobId)
}

/** Returns when the instant is fixed; one that is under way or done is left as it is. */
export async function startPointCopy(holder: Holder, request: PointCopyRequest): Promise<void> {
  const { jobId, target } = request
  requireInFlight(request)
  const { mirror, cutover } = holder.record
  const { image } = holder
  if (mirror ?? cutover) {
    throw new DomainError(
      'conflict',
      `Holder ${holder.id} copies for ${(mirror ?? cutover)?.jobId}; end that first.`,
    )
  }
  const { pointCopy } = holder.record
  const job = await pointCopyUnderWay(holder)
  if (pointCopy?.jobId === jobId && pointCopy.target.imageId === target.imageId) {
    if (pointCopy.outcome === 'done' || (job && job.status !== 'concluded')) return
  } else if (pointCopy && job && job.status !== 'concluded') {
    throw new DomainError(
      'conflict',
      `Holder ${holder.id} already copies for ${pointCopy.jobId} to image ${pointCopy.target.imageId}.`,
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
  if (pointCopy) await dropPointCopy(holder, pointCopy.jobId) // what failed, or is of an operation that is over
  await checkImage(target, holder.context.network)
  if (target.kind === 'nbd') await holder.ensureTlsCredentials()
  await holder.save({ pointCopy: { jobId, target } })
  try {
    await build(holder, request)
  } catch (error) {
    await dropPointCopy(holder, jobId)
    throw error
  }
}

async function build(holder: Holder, request: PointCopyRequest): Promise<void> {
  const { jobId, target, rate } = request
  const { qmp } = holder
  const { nodeNames, standsOn } = await readGraph(qmp)
  if (standsOn === undefined) throw new DomainError('internal', `Holder ${holder.id} has no image node.`)
  const { aio } = await probeAio()
  const replaced = freeNodeName(target.imageId, nodeNames)
  const rest = freeNodeName(target.imageId, [...nodeNames, replaced])
  const open = { aio, reconnectDelaySeconds: reconnectDelay.mirrorTarget, makesHoles: true }
  await qmp.execute('blockdev-add', imageBlockdev(target, { ...open, nodeName: replaced }))
  // The first one holds the file's lock, which this process would not get twice.
  const second = { ...open, nodeName: rest, isSecondOpen: true }
  await qmp.execute('blockdev-add', imageBlockdev(target, second))
  await qmp.execute('blockdev-add', copyBeforeWriteBlockdev(standsOn, replaced))
  // The instant: requests in flight are drained, and every later write meets the filter.
  await qmp.execute('blockdev-reopen', { options: [throttleBlockdev(daemonNames.copyBeforeWrite)] })
  await qmp.execute('blockdev-add', instantBlockdev())
  const { replaces: _, ...args } = mirrorArguments(qemuJobId(jobId), rest, '', {
    rate,
    besideClient: holder.record.serves,
    ...requireInFlight(request),
  })
  await qmp.execute('blockdev-mirror', {
    ...args,
    device: daemonNames.instant,
    // As good as `full` for an image without a backing file. But `full` begins with zeroing all of the target, and would
    // take away what the filter has put there: then it is nowhere any more.
    sync: 'top',
    'auto-finalize': true,
    'on-target-error': 'report',
  })
}

/** Looks, and brings a copy that has got everything to its end: flushed, closed, and written down as done. */
export async function pointCopyStatus(holder: Holder, jobId: string): Promise<PointCopyStatus> {
  const { pointCopy } = holder.record
  if (pointCopy?.jobId !== jobId) return { phase: 'absent', doneBytes: 0, totalBytes: 0 }
  const { sizeBytes } = pointCopy.target
  const failed = (error: string): PointCopyStatus => ({
    phase: 'failed',
    doneBytes: 0,
    totalBytes: sizeBytes,
    error,
  })
  const done: PointCopyStatus = { phase: 'done', doneBytes: sizeBytes, totalBytes: sizeBytes }
  if (pointCopy.outcome === 'done') return done
  if (pointCopy.outcome !== undefined) return failed(pointCopy.outcome.error)
  let job = await pointCopyUnderWay(holder)
  if (!job) return failed(lost)
  if (job.status === 'ready') {
    // Its source never changes, so it has everything. Without force that is its end, and its target's flush.
    await cancelAndWait(holder, qemuJobId(jobId), endTimeoutMs, 'block-job-cancel')
    job = await findJob(holder, jobId)
    if (!job) return failed(lost)
  }
  if (job.status !== 'concluded' && job.status !== 'aborting') {
    return { phase: 'copying', doneBytes: job.offset, totalBytes: job.len }
  }
  const error = errorOf(job) ?? (job.offset < job.len ? 'It ended before it had everything.' : undefined)
  return error === undefined ? await settle(holder, jobId, done) : await fail(holder, jobId, failed(error))
}

async function settle(holder: Holder, jobId: string, done: PointCopyStatus): Promise<PointCopyStatus> {
  const { pointCopy } = holder.record
  if (!pointCopy) return { phase: 'absent', doneBytes: 0, totalBytes: 0 }
  await takeDown(holder, jobId)
  // By a connection of its own: what the filter wrote went another way than what the mirror flushed.
  const probe = await openProbe(pointCopy.target, holder.context.network)
  try {
    await probe.flush(flushTimeoutMs)
  } finally {
    await probe.close().catch(() => {})
  }
  await holder.save({ pointCopy: { ...pointCopy, outcome: 'done' } })
  return done
}

async function fail(holder: Holder, jobId: string, failed: PointCopyStatus): Promise<PointCopyStatus> {
  const { pointCopy } = holder.record
  await takeDownOrRestart(holder, jobId)
  if (pointCopy) await holder.save({ pointCopy: { ...pointCopy, outcome: { error: failed.error ?? lost } } })
  return failed
}

/** Cancels what is under way, closes the target and forgets the job. */
export async function dropPointCopy(holder: Holder, jobId: string): Promise<void> {
  const { pointCopy } = holder.record
  if (pointCopy?.jobId !== jobId) return
  if (pointCopy.outcome === undefined && holder.daemon.isAlive) await takeDownOrRestart(holder, jobId)
  await holder.forget('pointCopy')
}

/** A target that hangs can hold the daemon's monitor up: then the daemon is started again without it, a short pause. */
async function takeDownOrRestart(holder: Holder, jobId: string): Promise<void> {
  try {
    await takeDown(holder, jobId)
  } catch (error) {
    const reason = messageOf(error)
    holder.context.log.warn(
      { holderId: holder.id, jobId, reason },
      'copy of an instant is ended by a restart',
    )
    await holder.restartOn(holder.image)
  }
}

/** The client's way is as before, then what stood beside it goes. Each part may be missing already. */
async function takeDown(holder: Holder, jobId: string): Promise<void> {
  const { qmp } = holder
  const id = qemuJobId(jobId)
  const job = await findJob(holder, jobId)
  if (job) {
    if (job.status !== 'concluded') await cancelAndWait(holder, id, cancelTimeoutMs)
    await qmp.execute('job-dismiss', { id }).catch(tolerateMissing)
  }
  await requireClosed(holder, daemonNames.instant)
  const { standsOn, nodeNames } = await readGraph(qmp)
  if (nodeNames.includes(daemonNames.copyBeforeWrite) && standsOn !== undefined) {
    await qmp.execute('blockdev-reopen', { options: [throttleBlockdev(standsOn)] })
    await requireClosed(holder, daemonNames.copyBeforeWrite)
  }
  const target = holder.record.pointCopy?.target
  if (target) await closeImage(holder, target.imageId)
}

async function requireClosed(holder: Holder, nodeName: string): Promise<void> {
  const { nodeNames } = await readGraph(holder.qmp)
  if (!nodeNames.includes(nodeName) || (await holder.closeNode(nodeName))) return
  throw new DomainError('unavailable', `Block node ${nodeName} of holder ${holder.id} does not close.`)
}
