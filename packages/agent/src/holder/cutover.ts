import { randomBytes } from 'node:crypto'
import { DomainError, messageOf } from '@volant/contract'
import type { ClientProcess, CutoverDecision, CutoverReport, ImageAccess, Pending } from '@volant/contract'
import { probeAio } from '@volant/qemu/capabilities.ts'
import { isAlive } from '@volant/qemu/process.ts'
import { QmpError, QmpTimeout } from '@volant/qemu/qmp.ts'
import type { QmpEvent } from '@volant/qemu/qmp.ts'
import { imageBlockdev, reconnectDelay, throttleBlockdev } from '@volant/qemu/storage-daemon.ts'
import { settleWithHolds } from './client-hold.ts'
import { freeNodeName, isNodeOf, readGraph } from './graph.ts'
import { startGuard } from './guard.ts'
import type { Holder } from './holder.ts'
import { openProbe } from './image-access.ts'
import type { ImageProbe } from './image-access.ts'
import { endMirror, findJob, qemuJobId, requireJob } from './mirror.ts'
import { registerPath } from './record.ts'
import { Register } from './register.ts'

/** Bound for the target's answer while the client's I/O is held. */
const probeTimeoutMs = 2000
/** Bound for the daemon to confirm a finalized job; after it the daemon is killed and started on the target. */
const finalizeTimeoutMs = 3000

/** Bound for a cancelled job to end; after it the daemon is killed and started on the source. */
const giveUpTimeoutMs = 1500

const statusOf = (event: QmpEvent): unknown => event.data['status']

/**
 * Phase one. The client's I/O is held from shortly before PENDING on. Everything slow is done before
 * `job-complete`: the second connection to the target is open, the register lies ready, its guard watches, and the
 * record of that is on disk.
 */
export async function prepareCutover(
  holder: Holder,
  jobId: string,
  windowMs: number,
  client?: ClientProcess,
): Promise<Pending & { quiescedSince: number }> {
  const job = await requireJob(holder, jobId)
  const target = holder.record.mirror?.target
  if (!target) throw new DomainError('conflict', `Holder ${holder.id} has no record of mirror ${jobId}.`)
  if (job.status !== 'ready' && job.status !== 'pending') {
    throw new DomainError(
      'conflict',
      `Mirror ${jobId} is ${job.error ?? job.status}; a cutover needs it ready.`,
    )
  }
  const decided = await holder.register?.read()
  if (decided === 'committed') throw holder.decided(decided)
  let probe: ImageProbe | undefined
  try {
    probe = await openProbe(target, holder.context.network)
    if (decided === 'abandoned') throw holder.decided(decided) // and what is left of it is ended below
    // Whoever comes back to an attempt has what is left of its time, for the client waits. One whose guard is gone is
    // replaced: its decision would have no bound.
    if (job.status !== 'pending' || !isGuarded(holder, jobId))
      await openAttempt(holder, jobId, target, windowMs)
    const quiescedSince = performance.now()
    // A file is asked beside the completion: that it takes writes the job itself has found out by PENDING, later than this.
    const asked = target.kind === 'file' ? probe.probe(probeTimeoutMs) : undefined
    asked?.catch(() => {}) // awaited below
    if (job.status === 'ready') await complete(holder, jobId, windowMs, client)
    const drainMs = performance.now() - quiescedSince
    await (asked ?? probe.probe(probeTimeoutMs))
    return { drainMs, quiescedSince }
  } catch (error) {
    await giveUp(holder, jobId)
    throw error
  } finally {
    void probe?.close().catch(() => {})
  }
}

const isGuarded = ({ record: { cutover } }: Holder, jobId: string): boolean =>
  cutover?.jobId === jobId && isAlive(cutover.guard)

/** A register and a guard for a new attempt. An older attempt ends for good before. */
async function openAttempt(
  holder: Holder,
  jobId: string,
  target: ImageAccess,
  windowMs: number,
): Promise<void> {
  if (holder.record.cutover) {
    await holder.decide('abandoned')
    await holder.forget('cutover')
  }
  const cutover = { jobId, target, attempt: randomBytes(8).toString('hex') }
  const { records, decisionMs } = holder.context
  const register = new Register(registerPath(records, holder.id, cutover.attempt))
  // Before the record: a mark whose register is not there could never be decided.
  await register.create()
  await holder.save({ cutover })
  await startGuard(
    {
      monitorPath: holder.guardPath,
      job: qemuJobId(jobId),
      registerPath: register.path,
      windowMs,
      decisionMs,
      logPath: holder.logPath,
    },
    (guard) => holder.save({ cutover: { ...cutover, guard } }),
  )
}

/**
 * The commit point. Only while the guard lives: without it nothing would bound the pause if this process died next, and
 * giving up costs no more than another attempt.
 */
export async function commitCutover(holder: Holder, jobId: string): Promise<void> {
  const { cutover, lastCutover } = holder.record
  if (cutover?.jobId !== jobId) {
    if (lastCutover?.jobId === jobId) return
    throw new DomainError('conflict', `Holder ${holder.id} is at no cutover of ${jobId}.`)
  }
  if (!isGuarded(holder, jobId)) {
    if ((await holder.register?.read()) === 'committed') return
    throw new DomainError(
      'conflict',
      `The guard of the cutover of ${jobId} is gone; give it up and try again.`,
    )
  }
  if (!sawPending(holder, jobId) && (await findJob(holder, jobId))?.status !== 'pending') {
    throw new DomainError('conflict', `Mirror ${jobId} is not pending; the copies are not equal.`)
  }
  // This process may have slept since it was called.
  if (holder.context.isSuperseded()) {
    throw new DomainError('staleFence', `Another control plane has taken over holder ${holder.id}.`)
  }
  await holder.decide('committed')
  holder.committed = cutover.attempt
}

/** Only reads: also of a holder whose daemon is dead. */
export async function cutoverDecision(holder: Holder, jobId: string): Promise<CutoverDecision> {
  const { cutover, lastCutover } = holder.record
  if (lastCutover?.jobId === jobId) return 'committed'
  if (cutover?.jobId !== jobId) return 'none'
  return (await holder.register?.read()) ?? 'undecided'
}

async function complete(
  holder: Holder,
  jobId: string,
  windowMs: number,
  client: ClientProcess | undefined,
): Promise<void> {
  const { qmp } = holder
  const id = qemuJobId(jobId)
  await qmp.execute('block-job-set-speed', { device: id, speed: 0 })
  const settled = qmp.expect(
    'JOB_STATUS_CHANGE',
    (event) =>
      event.data['id'] === id && ['pending', 'aborting', 'concluded'].includes(String(statusOf(event))),
    windowMs,
  )
  const waiting = qmp.expect(
    'JOB_STATUS_CHANGE',
    (event) => event.data['id'] === id && statusOf(event) === 'waiting',
    windowMs,
  )
  try {
    holder.completing = jobId
    await qmp.execute('job-complete', { id }, windowMs)
    const { result: event, heldSinceMs } = await settleWithHolds(settled.event, client, holder.context.log)
    if (statusOf(event) === 'pending') {
      const { timestampMs } = await waiting.event
      holder.quiescedAtMs = Math.min(timestampMs, heldSinceMs ?? timestampMs)
      return
    }
    const job = await findJob(holder, jobId)
    throw new DomainError(
      'unavailable',
      `Mirror ${jobId} failed at its end: ${job?.error ?? 'it was cancelled'}.`,
    )
  } catch (error) {
    if (!(error instanceof QmpTimeout)) throw error
    throw new DomainError(
      'conflict',
      `The copies did not become equal within ${windowMs} ms: the client writes too fast, or an image is too slow.`,
      { cause: error },
    )
  } finally {
    settled.cancel()
    waiting.cancel()
  }
}

/** Back to the source. Where even that is not answered, the daemon is killed and started on it. */
async function giveUp(holder: Holder, jobId: string): Promise<void> {
  if (holder.daemon.isLeft) {
    throw new DomainError('unavailable', `The cutover of ${jobId} was left to whoever comes next.`)
  }
  if (holder.record.cutover?.jobId === jobId) await holder.decide('abandoned')
  try {
    await endMirror(holder, jobId, giveUpTimeoutMs)
  } catch (error) {
    holder.context.log.warn(
      { holderId: holder.id, reason: messageOf(error) },
      'cutover is given up by a restart',
    )
    await holder.restartOn(holder.image)
  }
}

/** Gives the cutover up by the caller's word: the source is the truth. */
export async function abandonCutover(holder: Holder, jobId: string): Promise<void> {
  if (holder.record.lastCutover?.jobId === jobId) {
    throw new DomainError('conflict', `The cutover of ${jobId} is final; it cannot be given up any more.`)
  }
  if (holder.daemon.isAlive) return giveUp(holder, jobId)
  if (holder.record.cutover?.jobId === jobId || holder.record.mirror?.jobId === jobId) {
    await holder.decide('abandoned')
    await holder.restartOn(holder.image)
  }
}

/**
 * Phase two, after the commit: from here on the target is the truth whatever happens. The holder's own record needs no
 * write before `job-finalize`: the mark that `prepareCutover` put on disk already forbids every start without the
 * caller's word, and a write now would lengthen the client's pause.
 */
export async function finalizeCutover(
  holder: Holder,
  jobId: string,
  target: ImageAccess,
  quiescedSince: number | undefined,
): Promise<CutoverReport> {
  const { lastCutover } = holder.record
  if (lastCutover?.jobId === jobId && holder.record.image?.imageId === target.imageId) {
    await holder.daemon.ensureRunning()
    if (holder.record.cutover) {
      // A crash, or a daemon that did not answer, came before it was tidied up.
      if (lastCutover.source) await settle(holder, jobId, lastCutover.source, target)
      await holder.forget('mirror', 'cutover')
    }
    return lastCutover.report
  }
  const { cutover } = holder.record
  if (cutover?.jobId !== jobId || cutover.target.imageId !== target.imageId) {
    throw new DomainError(
      'conflict',
      `Holder ${holder.id} is at no cutover of ${jobId} to image ${target.imageId}.`,
    )
  }
  if (holder.committed !== cutover.attempt) await holder.decide('committed')
  const begun = performance.now()
  const since = quiescedSince ?? begun
  const confirmed = await finalizeJob(holder, jobId, target)
  const reportNow = (): CutoverReport => {
    const end = performance.now()
    const times = { pauseMs: end - since, finalizeMs: end - begun }
    if (!confirmed) return { imageId: target.imageId, ...times, restarted: true }
    const { quiescedMs } = confirmed
    return { imageId: target.imageId, ...times, ...(quiescedMs === undefined ? {} : { quiescedMs }) }
  }
  // Noted as final before the start on the target: if that fails now, the call may be repeated.
  if (!confirmed) await holder.restartOn(target, { lastCutover: { jobId, report: reportNow() } })
  const report = reportNow()
  holder.completing = undefined
  holder.quiescedAtMs = undefined
  const source = confirmed ? { source: confirmed.source } : {}
  await holder.save({ image: target, lastCutover: { jobId, report, ...source } })
  if (confirmed) await settle(holder, jobId, confirmed.source, target)
  await holder.forget('mirror', 'cutover')
  return report
}

/** Whether this process was told of PENDING in this attempt; nothing but the caller's word ends that state. */
const sawPending = (holder: Holder, jobId: string): boolean =>
  holder.completing === jobId && holder.quiescedAtMs !== undefined

interface Confirmed {
  source: ImageAccess
  quiescedMs?: number
}

/** Sends job-finalize and observes its end; undefined where the daemon is dead or does not confirm. */
async function finalizeJob(
  holder: Holder,
  jobId: string,
  target: ImageAccess,
): Promise<Confirmed | undefined> {
  const id = qemuJobId(jobId)
  const source = holder.image
  if (!holder.daemon.isAlive) return undefined
  let sent = false
  let quiescedMs: number | undefined
  try {
    const { qmp } = holder
    // The client waits: what this process has just seen is not asked again.
    const job = sawPending(holder, jobId) ? undefined : await findJob(holder, jobId, finalizeTimeoutMs)
    if (sawPending(holder, jobId) || job?.status === 'pending') {
      const concluded = qmp.expect(
        'JOB_STATUS_CHANGE',
        (event) => event.data['id'] === id && statusOf(event) === 'concluded',
        finalizeTimeoutMs,
      )
      sent = true
      holder.setImageInMemory(target)
      try {
        await qmp.execute('job-finalize', { id }, finalizeTimeoutMs)
        const { timestampMs } = await concluded.event
        if (holder.quiescedAtMs !== undefined) quiescedMs = timestampMs - holder.quiescedAtMs
      } catch (error) {
        // The guard may have been first with it; the graph tells what came of that.
        if (!(error instanceof QmpError) || (await findJob(holder, jobId))?.status !== 'concluded')
          throw error
      } finally {
        concluded.cancel()
      }
    } else if (job && job.status !== 'concluded') {
      throw new DomainError(
        'conflict',
        `Mirror ${jobId} is ${job.status}, not pending; the copies are not equal.`,
      )
    }
    const { standsOn } = await readGraph(qmp)
    if (isNodeOf(standsOn, target.imageId))
      return { source, ...(quiescedMs === undefined ? {} : { quiescedMs }) }
    throw new DomainError(
      'conflict',
      `Mirror ${jobId} ended without its cutover; the export stands on ${standsOn}.`,
    )
  } catch (error) {
    if (error instanceof DomainError && error.code === 'conflict' && !sent) throw error
    const reason = messageOf(error)
    holder.context.log.warn(
      { holderId: holder.id, jobId, reason },
      'cutover not confirmed; starting on the target',
    )
    return undefined
  }
}

/** After the pause: the job and the old image are closed, and a remote target gets the client's patience. */
async function settle(
  holder: Holder,
  jobId: string,
  source: ImageAccess,
  target: ImageAccess,
): Promise<void> {
  const { qmp } = holder
  await qmp.execute('job-dismiss', { id: qemuJobId(jobId) }).catch((error: unknown) => {
    if (!(error instanceof QmpError)) throw error
  })
  if (target.kind === 'nbd') await lengthenPatience(holder, target)
  // Closing a node whose export was revoked flushes it first, and blocks the monitor for its whole reconnect
  // delay. Such a node holds nothing but memory: it ends with the daemon.
  if (source.kind === 'nbd') {
    holder.hasDeadNodes = true
    return
  }
  const graph = await readGraph(qmp)
  for (const name of graph.nodeNames) {
    if (isNodeOf(name, source.imageId) && name !== graph.standsOn) await holder.closeNode(name)
  }
}

/**
 * A mirror's target is opened with a short reconnect delay, and QEMU cannot change that of an open node. So the
 * export is opened a second time, with the delay that a client's disk needs, and takes the first one's place
 * below the throttle filter.
 */
async function lengthenPatience(holder: Holder, target: ImageAccess): Promise<void> {
  const { qmp } = holder
  const graph = await readGraph(qmp)
  const { aio } = await probeAio()
  const nodeName = freeNodeName(target.imageId, graph.nodeNames)
  const options = { nodeName, aio, reconnectDelaySeconds: reconnectDelay.client }
  try {
    await qmp.execute('blockdev-add', imageBlockdev(target, options))
    await qmp.execute('blockdev-reopen', { options: [throttleBlockdev(nodeName)] })
    if (graph.standsOn !== undefined) await holder.closeNode(graph.standsOn)
  } catch (error) {
    // The client is served all the same; the daemon's next start opens the image with the long delay.
    holder.context.log.warn({ holderId: holder.id, reason: messageOf(error) }, 'reconnect delay stays short')
  }
}
