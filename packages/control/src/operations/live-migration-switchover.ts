/**
 * The moment at which a guest stands still, and its way back. Of all that is here the same holds: at no time has more than
 * one place access to a volume, and whoever had it before has provably lost it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError, isDomainError, type GuestDisk } from '@volant/contract'
import { final } from '@volant/saga'
import type { Copy } from '../domain/volume.ts'
import type { HolderPlace } from '../ports/backend.ts'
import { callerOf } from './caller.ts'
import { isHeadFenced, unlessGivenUp } from './given-up.ts'
import { ensureHead } from './head.ts'
import type { LiveMigrateServerInput, LiveMigrateServerPorts, MovingDisk } from './live-migrate-server.ts'
import { sideBySide } from './side-by-side.ts'
import { unlessAway } from './away.ts'

interface Op {
  id: string
  fence: number
}

/** Milliseconds. */
export interface SwitchoverReport {
  /** For how long the guest stood still, from its stop at the source to the answer that it goes on; null where its QEMU did not say. */
  pauseMs: number | null
  /** What the parts took, as seen from here. */
  parts: Record<'begin' | 'handOver' | 'send' | 'arrive' | 'commit' | 'resume', number>
}

/** What arrives later than this has failed. Milliseconds. */
const arrivesWithinMs = 30_000
/** After all else was done. Milliseconds. */
const consoleWithinMs = 100

const truthOf = async (ports: LiveMigrateServerPorts, volumeId: string) => {
  const { imageId } = await ports.volumes.get(volumeId)
  if (imageId === null) throw new DomainError('conflict', `Volume ${volumeId} has no data yet.`)
  return ports.copies.get(imageId)
}

/** This attempt is over, and the guest goes on at the source; another one may well succeed, there, too. */
export const endedEarly = (message: string) => final(message, new DomainError('unavailable', message))

/** At the storage and at the destination everything waits, with access to nothing. Tells where the disks are. */
export async function standBy(
  ports: LiveMigrateServerPorts,
  op: Op,
  disks: readonly MovingDisk[],
  host: string,
): Promise<GuestDisk[]> {
  const machine = ports.places.machineOfHost(host)
  const holders = ports.agents.holders(machine)
  return sideBySide(disks, async ({ attachmentId, volumeId, toHeadId, boot }) => {
    const copy = await truthOf(ports, volumeId)
    const image = await ports.backend.standBy(callerOf(op), copy, machine, toHeadId)
    const why = image && (await holders.unreachable(image.host, image.port))
    if (why) throw final(`Volume ${volumeId} can't be reached from ${host}: ${why}`)
    const { sizeBytes } = copy
    const owner = { holderId: toHeadId, volumeId }
    // Where the storage serves the image it is the export that is in standby, with this head connected.
    const head = await (image === null
      ? holders.ensureStandby(callerOf(op), { ...owner, sizeBytes })
      : holders.ensureHolder(callerOf(op), { ...owner, image, serves: true, limits: {} }))
    if (head.socketPath === undefined || head.exportName === undefined) {
      throw new DomainError('internal', `The head ${toHeadId} does not say where it listens.`)
    }
    return { attachmentId, volumeId, socketPath: head.socketPath, exportName: head.exportName, boot }
  })
}

/** Takes what `standBy` made away again. A machine that does not answer is left: what is there has access to nothing. */
export async function endStandBy(
  ports: LiveMigrateServerPorts,
  context: { op: Op; signal: AbortSignal },
  { serverId, disks }: LiveMigrateServerInput,
  host: string,
): Promise<void> {
  await closeDestination(ports, context.op, disks, host)
  const holders = ports.agents.holders(ports.places.machineOfHost(host))
  const removed = await unlessAway(context, ports.policy.awayMs, () =>
    sideBySide(disks, ({ toHeadId }) => holders.ensureNoHolder(callerOf(context.op), toHeadId)),
  )
  // Removed when the host answers again: whose they were must be known then.
  const heads = disks.map(({ toHeadId, volumeId }) => ({ headId: toHeadId, volumeId }))
  if (!removed) await ports.moves.bury(serverId, heads)
}

/**
 * THE FENCE, and the access of the destination's heads after it. Of each volume the source's head can write no more, proved at
 * the storage or by the head's own process, before the destination's gets anything. Where the storage serves both it does so
 * by one call.
 */
async function handOver(
  ports: LiveMigrateServerPorts,
  op: Op,
  { source, disks }: LiveMigrateServerInput,
  host: string,
): Promise<void> {
  const [fromMachine, toMachine] = [ports.places.machineOfHost(source), ports.places.machineOfHost(host)]
  await sideBySide(disks, async (disk) => {
    const copy = await truthOf(ports, disk.volumeId)
    const from = { machine: fromMachine, holderId: disk.fromHeadId }
    const to = { machine: toMachine, holderId: disk.toHeadId }
    if (await ports.backend.handOver(callerOf(op), copy, from, to)) return
    await closeSource(ports, op, copy, from)
    await openDestination(ports, op, copy, { ...to, volumeId: disk.volumeId })
  })
}

async function closeSource(
  ports: LiveMigrateServerPorts,
  op: Op,
  copy: Copy,
  { machine, holderId }: HolderPlace,
): Promise<void> {
  if (await ports.backend.revoke(callerOf(op), copy, machine, holderId)) return
  await ports.agents.holders(machine).ensureReleased(callerOf(op), holderId)
}

async function openDestination(
  ports: LiveMigrateServerPorts,
  op: Op,
  copy: Copy,
  { machine, holderId, volumeId }: HolderPlace & { volumeId: string },
): Promise<void> {
  const image = await ports.backend.openFor(callerOf(op), copy, machine, holderId)
  // Its head has been connected to the export since it stands by.
  if (image.kind === 'nbd') return
  const head = { holderId, volumeId, image, serves: true, limits: {} }
  await ports.agents.holders(machine).ensureHolder(callerOf(op), head)
}

/** The other way round: the destination's access ends; a head that the storage can't shut out is stopped. */
async function closeDestination(
  ports: LiveMigrateServerPorts,
  op: Op,
  disks: readonly MovingDisk[],
  host: string,
): Promise<void> {
  const machine = ports.places.machineOfHost(host)
  await sideBySide(disks, async ({ volumeId, toHeadId }) => {
    let isLocal = false
    for (const copy of await ports.copies.ofVolume(volumeId)) {
      // It never had access to the source that is kept after a volume's migration, whose node may be gone.
      if (copy.state === 'retained') continue
      if (!(await ports.backend.revoke(callerOf(op), copy, machine, toHeadId))) isLocal = true
    }
    if (isLocal) await ports.agents.holders(machine).ensureNoHolder(callerOf(op), toHeadId)
  })
}

/**
 * The guest stands still at the source; afterwards it goes on at the destination. Up to the commit in the middle the way
 * back is `goBack`. Repeated after a crash it goes on where it was.
 */
export async function switchOver(
  ports: LiveMigrateServerPorts,
  op: Op,
  input: LiveMigrateServerInput,
  host: string,
  continueWithinMs: number,
): Promise<SwitchoverReport> {
  const { serverId, source, disks, wasPaused } = input
  const from = ports.agents.compute(source)
  const to = ports.agents.compute(host)
  const watch = stopwatch(ports.monotonic)
  // The rest of the memory is on its way since the standstill, and the volumes change hands meanwhile. The one touches no
  // volume, the other no memory; the guest that has both stands still until it is told to go on.
  const beginning = watch.part('begin', begun(from.beginSwitchover(callerOf(op), serverId, op.id)))
  const send = async () => {
    await beginning
    const call = from.continueMigration(callerOf(op), serverId, op.id, continueWithinMs)
    return { status: await watch.part('send', call), at: ports.monotonic() }
  }
  const sending = send()
  // Asked for from the beginning: a destination that is cut off tells the source nothing.
  const arriving = to.awaitIncoming(serverId, op.id, continueWithinMs + arrivesWithinMs)
  // Each is waited for below; where one fails the others are left, for the way back ends the sending.
  for (const work of [sending, arriving]) work.catch(() => {})
  // It prints nothing more there. Nice to have, so nothing fails or waits for it.
  const console = from.consoleOutput(serverId).catch(() => undefined)
  // To its end, for the way back must find nobody at work at the volumes.
  const [, handed] = await Promise.allSettled([
    beginning,
    watch.part('handOver', handOver(ports, op, input, host)),
  ])
  // What the agent refuses says more than what came of it.
  await beginning
  if (handed.status === 'rejected') throw handed.reason
  const sent = await Promise.race([sending, arriving.then(() => sending)])
  if (sent.status.phase !== 'completed') {
    throw endedEarly(
      `The rest of the guest's memory could not be sent: ${sent.status.error ?? `it is ${sent.status.phase}`}`,
    )
  }
  const there = await watch.part('arrive', arriving)
  if (there.phase !== 'arrived') {
    throw endedEarly(`The guest did not arrive at ${host}: ${there.error ?? there.phase}`)
  }
  const heads = Object.fromEntries(disks.map(({ attachmentId, toHeadId }) => [attachmentId, toHeadId]))
  await watch.part(
    'commit',
    ports.moves.arrive(
      serverId,
      { from: source, host, heads, fence: op.fence },
      {},
      { id: op.id, reserves: null },
    ),
  )
  const printed = await Promise.race([console, sleep(consoleWithinMs, undefined, { ref: false })])
  await watch.part('resume', to.ensureArrived(callerOf(op), serverId, op.id, wasPaused, printed))
  // Where an agent that came later did not see it stop: QEMU's own measure, which ends when all was sent, and nobody had heard of that.
  const stillMs = sent.status.stillMs ?? sent.status.downtimeMs
  const pauseMs = stillMs === undefined || wasPaused ? null : stillMs + ports.monotonic() - sent.at
  return { pauseMs, parts: watch.parts }
}

/** Where the agent has given it up: this came too late, which the next attempt need not. */
const begun = (begin: Promise<void>): Promise<void> =>
  begin.catch((error: unknown) => {
    throw isDomainError(error) && error.code === 'conflict' ? endedEarly(error.message) : error
  })

function stopwatch(now: () => number) {
  const parts = { begin: 0, handOver: 0, send: 0, arrive: 0, commit: 0, resume: 0 }
  return {
    parts,
    async part<T>(name: keyof typeof parts, work: Promise<T>): Promise<T> {
      const began = now()
      const result = await work
      parts[name] = Math.round((now() - began) * 100) / 100
      return result
    },
  }
}

/**
 * The guest goes on at the source, however far it came: the destination's access is closed, then the source's is given
 * back, then the migration is given up. The incoming QEMU stands still all the while and is told to go on by nobody, so its
 * end is not waited for first: its host may be dead. A source that stays away is left as it is; it finds its way
 * when it answers again.
 */
export async function goBack(
  ports: LiveMigrateServerPorts,
  context: { op: Op; signal: AbortSignal },
  input: LiveMigrateServerInput,
  host: string,
): Promise<void> {
  const { op } = context
  const { serverId, source, disks } = input
  const incoming = ports.agents
    .compute(host)
    .ensureNoIncoming(callerOf(op), serverId, op.id)
    // Tried again in the undo of its own step.
    .catch(() => {})
  await closeDestination(ports, op, disks, host)
  const moving = new Set(disks.map(({ attachmentId }) => attachmentId))
  const attachments = (await ports.attachments.ofServer(serverId)).filter(({ id }) => moving.has(id))
  await unlessAway(context, ports.policy.awayMs, async () => {
    // One that is fenced gets nothing: its server is being evacuated.
    await sideBySide(attachments, (attachment) =>
      unlessGivenUp(isHeadFenced(ports, attachment.headId), () =>
        ensureHead(ports, callerOf(op), attachment),
      ),
    )
    await ports.agents.compute(source).ensureMigrationAbandoned(callerOf(op), serverId, op.id)
  })
  await incoming
}
