/**
 * # A server goes to another compute host while its guest runs
 *
 * Memory goes from QEMU to QEMU; volumes stay where they are, and the destination has heads of its own for them.
 * docs/protocol/live-migration.md has the reasons, and what happens after a crash at each point.
 *
 *     reserve → standBy → incoming → startMigration → [copied] → SWITCHOVER → goOn → retireSource → recordDone
 *
 *     guest:    ──────────── runs at the source ─────────────│ stands still  ┃   │ runs at the destination ───
 *     volumes:  ──────────── the source's heads ─────────────── ✗ ── the destination's ──────────────────────
 *                                                              fence          ┃ commit: one transaction
 *
 * At every moment one place may write. Everything at the destination is made before the guest stands still, with access
 * to nothing: exports and heads in standby, a QEMU that waits and does not start by itself. Then: the source's access is closed
 * and proved closed, the destination's opened, the rest of the memory sent, and one transaction makes the server and its
 * attachments the destination's. Whatever dies before it, the guest goes on at the source; whatever dies after it, at the
 * destination.
 */
import { isDomainError, messageOf, type GuestHardware } from '@volant/contract'
import { final, operation, type RunRecord } from '@volant/saga'
import {
  completionTimeoutMs,
  firstLimits,
  judgeMemoryCopy,
  liveMigrationProgress,
  newMemoryCopy,
  sameLimits,
  type LiveMigrationPolicy,
  type MemoryCopy,
} from '../domain/live-migration.ts'
import type { ServerMigration } from '../domain/server-migration.ts'
import { powerStates } from '../domain/server.ts'
import type { Backend } from '../ports/backend.ts'
import type { Destinations } from '../ports/destinations.ts'
import type { ServerMigrationRecords, ServerMoves } from '../ports/server-migrations.ts'
import { unlessAway } from './away.ts'
import { callerOf } from './caller.ts'
import { computeOf, finishAction, guestSpecOf, type GuestPorts, type ServerAction } from './guest.ts'
import { closeToHead } from './head.ts'
import { chooseDestination, guestSourceOf } from './live-migration-destination.ts'
import { endedEarly, endStandBy, goBack, standBy, switchOver } from './live-migration-switchover.ts'
import { throughRestart } from './patience.ts'
import { sideBySide } from './side-by-side.ts'

/** An attachment of the server, with its head at the source and the one that it gets. In the order of the guest's disks. */
export interface MovingDisk {
  attachmentId: string
  volumeId: string
  fromHeadId: string
  toHeadId: string
  boot: boolean
}

export interface LiveMigrateServerInput extends ServerAction {
  /** Its task state is `migrating`. */
  serverId: string
  source: string
  /** The destination that was asked for; null: the scheduler chooses. */
  host: string | null
  except: readonly string[]
  /** Null: any. */
  among: readonly string[] | null
  disks: MovingDisk[]
  /** Its user has paused it: it stays so. */
  wasPaused: boolean
  by: { userId: string; projectId: string }
}

export interface LiveMigrateServerPorts extends GuestPorts {
  backend: GuestPorts['backend'] & Pick<Backend, 'standBy' | 'handOver'>
  destinations: Destinations
  serverMigrations: Pick<ServerMigrationRecords, 'find' | 'get' | 'create' | 'update'>
  moves: ServerMoves
  policy: LiveMigrationPolicy
  /** What the copies under way look like. In memory: after a restart they are watched anew. */
  memoryCopies: Map<string, MemoryCopy>
  /** Milliseconds, from a clock that does not jump. */
  monotonic(): number
}

/** The server runs at its destination: what is left to do is tidying up, and nothing more is copied. */
export const hasLeft = ({ kind, step }: Pick<RunRecord, 'kind' | 'step'>): boolean =>
  kind === 'server.live-migrate' && (step === 'retireSource' || step === 'recordDone')

/** How long one look at the copy waits for its end. Milliseconds. */
const lookMs = 500

export const liveMigrateServer = operation<LiveMigrateServerInput, LiveMigrateServerPorts>(
  'server.live-migrate',
  { version: 1 },
)
  // None of its volumes may be migrated meanwhile: a mirror that a guest leaves behind goes stale in silence.
  .holds((input) => [`server/${input.serverId}`, ...input.disks.map(({ volumeId }) => `volume/${volumeId}`)])

  .step('reserve', {
    do: (context) => noting(context, () => reserve(context)),
    undo: async ({ op, input, ports, now }) => {
      const { serverId } = input
      const migration = await ports.serverMigrations.find(op.id)
      const status = op.control.cancelRequested ? 'cancelled' : 'error'
      await ports.serverMigrations.update(op.id, { status, reserves: null })
      await ports.servers.updateIf(serverId, { taskStates: ['migrating'] }, { taskState: null })
      const reason = op.control.cancelRequested ? 'The live migration was cancelled.' : migration?.message
      await finishAction(ports, input, now(), reason ?? 'The live migration failed.')
      ports.memoryCopies.delete(op.id)
    },
  })

  .step('standBy', {
    do: (context) =>
      noting(context, async () => {
        const { op, input, out, ports } = context
        return { disks: await standBy(ports, op, input.disks, out.reserve.host) }
      }),
    undo: (context) => endStandBy(context.ports, context, context.input, context.out.reserve.host),
    retry: throughRestart,
  })

  .step('incoming', {
    do: (context) =>
      noting(context, async () => {
        const { op, input, out, ports } = context
        const server = await ports.servers.get(input.serverId)
        return ports.agents.compute(out.reserve.host).ensureIncoming(callerOf(op), {
          migrationId: op.id,
          guest: await guestSpecOf(ports, server, out.standBy.disks),
          hardware: out.reserve.hardware as GuestHardware,
          sourceMachine: ports.places.machineOfHost(input.source),
          channels: ports.policy.channels,
        })
      }),
    undo: async (context) => {
      const { op, input, out, ports } = context
      const agent = ports.agents.compute(out.reserve.host)
      await unlessAway(context, ports.policy.awayMs, () =>
        agent.ensureNoIncoming(callerOf(op), input.serverId, op.id),
      )
    },
    retry: throughRestart,
  })

  .step('startMigration', {
    do: (context) =>
      noting(context, async () => {
        const { op, input, out, ports } = context
        const limits = firstLimits(ports.policy)
        await ports.serverMigrations.update(op.id, { status: 'running' })
        await ports.agents.compute(input.source).ensureMigration(callerOf(op), input.serverId, {
          migrationId: op.id,
          to: out.incoming,
          limits: { ...limits, bandwidth: op.control.rate ?? limits.bandwidth },
          channels: ports.policy.channels,
        })
        return null
      }),
    // Of the switchover, too: a commit that did not come to pass has no undo of its own.
    undo: (context) => goBack(context.ports, context, context.input, context.out.reserve.host),
    retry: throughRestart,
  })

  .wait('copied', {
    // A look lasts until the phase changes, so that the guest does not stand still for the time between two looks.
    every: 0,
    stallTimeout: '15m',
    until: (context) => noting(context, () => lookAtMemory(context)),
    retry: throughRestart,
  })

  .commit('switchover', {
    do: (context) =>
      noting(context, async () => {
        const { op, input, out, ports } = context
        const { memoryMib, forced } = await ports.serverMigrations.get(op.id)
        // A forced one sends most of the memory now.
        const withinMs = forced === true ? completionTimeoutMs(ports.policy, memoryMib) : 30_000
        return switchOver(ports, op, input, out.reserve.host, withinMs)
      }),
    happened: async ({ input, out, ports }) =>
      (await ports.servers.get(input.serverId)).host === out.reserve.host,
    // The guest stands still: whatever failed, it goes on at the source at once.
    attempts: 1,
  })

  // The server is the destination's. A crash of the control plane may have come before the guest was told so.
  .step('goOn', {
    do: (context) => goOn(context),
    retry: throughRestart,
  })

  .step('retireSource', {
    skip: 'the source has access to no volume any more; its QEMU, stopped, and its heads stay until it answers',
    do: async (context) => {
      const { op, input, ports } = context
      const machine = ports.places.machineOfHost(input.source)
      const holders = ports.agents.holders(machine)
      const retired = await unlessAway(context, ports.policy.awayMs, async () => {
        await ports.agents.compute(input.source).ensureNoGuest(callerOf(op), input.serverId)
        await sideBySide(input.disks, ({ fromHeadId }) => holders.ensureNoHolder(callerOf(op), fromHeadId))
      })
      await sideBySide(input.disks, ({ volumeId, fromHeadId }) =>
        closeToHead(ports, callerOf(op), volumeId, machine, fromHeadId),
      )
      return { retired }
    },
  })

  .step('recordDone', {
    do: async ({ op, input, out, ports, now }) => {
      const { serverId } = input
      const failure = out.goOn.failure
      const downtimeMs = out.switchover?.pauseMs ?? null
      await ports.serverMigrations.update(op.id, { status: 'completed', downtimeMs, memoryRemaining: 0 })
      if (failure === null) await ports.servers.update(serverId, { fault: null })
      await ports.servers.updateIf(serverId, { taskStates: ['migrating'] }, { taskState: null })
      await finishAction(ports, input, now(), failure)
      ports.memoryCopies.delete(op.id)
      return null
    },
  })

interface StepContext {
  op: { id: string; fence: number; createdAt: string; control: { rate: number | null } }
  input: LiveMigrateServerInput
  ports: LiveMigrateServerPorts
  signal: AbortSignal
  now(): Date
}

/** Keeps the reason of a failure with the migration, for its list and for the server's action. */
async function noting<T>({ op, ports, signal }: StepContext, step: () => Promise<T>): Promise<T> {
  try {
    return await step()
  } catch (error) {
    if (!signal.aborted) await ports.serverMigrations.update(op.id, { message: messageOf(error) })
    throw error
  }
}

/** Chooses the destination and holds room back on it, if that is not done already. */
async function reserve(context: StepContext) {
  const { op, input, ports } = context
  const { serverId, host, except, among } = input
  const server = await ports.servers.get(serverId)
  const before = await record(context, server)
  await requireUnchanged(ports, input, server.host)
  const source = await guestSourceOf(ports, server)
  if (before.destHost !== null) return { host: before.destHost, hardware: source.hardware }
  // Room that it held before a crash is not somebody else's.
  if (before.reserves !== null) await ports.serverMigrations.update(op.id, { reserves: null })
  const request = { ...(host !== null && { host }), except, ...(among !== null && { among }) }
  const chosen = await chooseDestination(ports, server, source, request, (destHost) =>
    // Until it is known to take the guest it is only held.
    ports.serverMigrations.update(op.id, { reserves: destHost }),
  )
  await ports.serverMigrations.update(op.id, { destHost: chosen })
  return { host: chosen, hardware: source.hardware }
}

/** The migration's record; there is one from the first step on, so that a refusal is kept in it. */
function record(
  { op, input, ports }: StepContext,
  server: Awaited<ReturnType<GuestPorts['servers']['get']>>,
): Promise<ServerMigration> {
  const flavor = { ...server.flavor, id: server.flavorId }
  return ports.serverMigrations.create({
    id: op.id,
    serverId: server.id,
    kind: 'live-migration',
    status: 'preparing',
    sourceHost: input.source,
    destHost: null,
    oldFlavor: flavor,
    newFlavor: flavor,
    heads: Object.fromEntries(input.disks.map(({ attachmentId, toHeadId }) => [attachmentId, toHeadId])),
    vcpus: server.flavor.vcpus,
    memoryMib: server.flavor.memoryMib,
    reserves: null,
    operationId: op.id,
    ...input.by,
    memoryTotal: null,
    memoryProcessed: null,
    memoryRemaining: null,
    downtimeMs: null,
    message: null,
    createdAt: op.createdAt,
    updatedAt: op.createdAt,
  })
}

/** What was looked at for the request may have changed until the operation had its keys. */
async function requireUnchanged(
  ports: LiveMigrateServerPorts,
  input: LiveMigrateServerInput,
  host: string | null,
): Promise<void> {
  const attachments = await ports.attachments.ofServer(input.serverId)
  const isKnown = attachments.every(
    ({ id, headId, status }) =>
      status === 'attached' &&
      input.disks.some(({ attachmentId, fromHeadId }) => attachmentId === id && fromHeadId === headId),
  )
  if (host === input.source && isKnown && attachments.length === input.disks.length) return
  throw final("The server's host or volumes have just changed: ask for the live migration again.")
}

/** One look at the copy of the memory: brings the operator's wishes to it, and tells how far it is. */
async function lookAtMemory({ op, input, ports, signal }: StepContext) {
  const { serverId } = input
  const source = ports.agents.compute(input.source)
  const before = ports.memoryCopies.get(op.id) ?? newMemoryCopy(ports.policy, ports.monotonic())
  const status = await unlessAborted(source.awaitMigration(serverId, op.id, 'copying', lookMs), signal)
  const { phase, error } = status
  if (phase === 'pre-switchover' || phase === 'switching' || phase === 'completed') {
    return { done: true, advance: phase }
  }
  if (phase !== 'copying') {
    throw endedEarly(`The guest's memory could not be copied: ${error ?? 'its QEMU at the source has ended'}`)
  }
  const { memoryMib, forced = false } = await ports.serverMigrations.get(op.id)
  const { copy, isOverdue } = judgeMemoryCopy(before, status, {
    now: ports.monotonic(),
    policy: ports.policy,
    memoryMib,
    rate: op.control.rate,
    force: forced,
  })
  if (isOverdue) {
    const seconds = Math.round(completionTimeoutMs(ports.policy, memoryMib) / 1000)
    throw final(
      `The copy of the guest's memory did not come to an end within ${seconds} s: the guest changes it too fast`,
    )
  }
  ports.memoryCopies.set(op.id, copy)
  if (!sameLimits(copy.limits, before.limits)) {
    const set = source.setMigrationLimits(callerOf(op), serverId, op.id, copy.limits)
    // It may have come to its end just now: the next look sees that.
    await set.catch((reason: unknown) => {
      if (!isDomainError(reason) || reason.code !== 'conflict') throw reason
    })
  }
  const progress = liveMigrationProgress(status, copy.limits)
  await ports.serverMigrations.update(op.id, {
    memoryTotal: progress.totalBytes,
    memoryProcessed: status.transferredBytes,
    memoryRemaining: progress.leftBytes,
  })
  return { done: false, progress, advance: [status.transferredBytes, copy.limits.downtimeMs] }
}

/** A cancel must not wait for the end of a look. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>()
  const abort = (): void => aborted.reject(signal.reason)
  if (signal.aborted) abort()
  else signal.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([work, aborted.promise])
  } finally {
    signal.removeEventListener('abort', abort)
    aborted.promise.catch(() => {})
  }
}

/**
 * Past the commit the guest goes on at the destination or nowhere: the source has nothing any more. Where its QEMU there
 * has died its memory is lost, as with any guest that dies.
 */
async function goOn(context: StepContext & { out: { reserve: { host: string } } }) {
  const { op, input, out, ports, now } = context
  const { serverId, wasPaused } = input
  const { host } = out.reserve
  const fail = async (message: string, fields: { vmState?: 'stopped' }) => {
    const fault = { code: 500, message: message.slice(0, 255), details: null, created: now().toISOString() }
    await ports.servers.update(serverId, { ...fields, powerState: powerStates.crashed, fault })
    return { failure: message }
  }
  try {
    const server = await ports.servers.get(serverId)
    const answers = await unlessAway(context, ports.policy.awayMs, () =>
      computeOf(ports, server).ensureArrived(callerOf(op), serverId, op.id, wasPaused),
    )
    if (answers) return { failure: null }
  } catch (error) {
    if (!isDomainError(error) || error.code !== 'notFound') throw error
    return fail(
      `The guest's QEMU on ${host} died just after the live migration; its memory is lost. Start the server again.`,
      { vmState: 'stopped' },
    )
  }
  return fail(
    `${host} does not answer since the server was live-migrated to it. The guest goes on when it does; or evacuate it.`,
    {},
  )
}
