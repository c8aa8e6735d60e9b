import { DomainError } from '@volant/contract'
import { retryable, type RetryPolicy } from '@volant/saga'
import type { FlavorSnapshot } from '../domain/flavor.ts'
import type { ServerMigration } from '../domain/server-migration.ts'
import { powerStates, type Server, type TaskState, type VmState } from '../domain/server.ts'
import type { Attachment } from '../domain/volume.ts'
import type { ServerMigrationRecords, ServerMoves } from '../ports/server-migrations.ts'
import { unlessAway } from './away.ts'
import { callerOf } from './caller.ts'
import { fenceServer, type FencePorts } from './fence.ts'
import { isBeingEvacuated, unlessGivenUp } from './given-up.ts'
import { blaming, ensureGuestRuns, ensureHeads, type GuestPorts, type ServerAction } from './guest.ts'
import { ensureNoHead } from './head.ts'
import { throughRestart } from './patience.ts'

/**
 * A powered-off server's way from one compute host to another, and back: of the operations that resize a server and that
 * revert it. Nobody has its volumes open while it arrives, so that which host may write is one record.
 */
export interface ColdMovePorts extends GuestPorts, Omit<FencePorts, 'agents'> {
  attachments: GuestPorts['attachments']
  copies: GuestPorts['copies']
  backend: GuestPorts['backend'] & FencePorts['backend']
  serverMigrations: Pick<ServerMigrationRecords, 'get' | 'update' | 'updateIf'>
  moves: ServerMoves
  /** How long a destination that does not answer is waited for before it is fenced. Milliseconds; absent: 30 s. */
  destinationPatienceMs?: number
}

/** An attachment of the server, with the head that it has and the one that it gets. */
export interface MovedHead {
  attachmentId: string
  volumeId: string
  from: string
  to: string
}

export interface ColdMoveInput extends ServerAction {
  serverId: string
  /** Of the row in `server_migrations`. */
  migrationId: string
  /** Compute hosts. */
  from: string
  to: string
  /** Every attachment of the server. */
  heads: readonly MovedHead[]
  /** The guest runs before: undone, it runs again. */
  ran: boolean
  /** The guest is to run at the end. */
  runs: boolean
  /** What the guest is given to shut down by itself. Milliseconds. */
  graceMs: number
}

/** What every step of such an operation has. */
export interface ColdMoveContext {
  readonly op: {
    readonly id: string
    readonly fence: number
    readonly control: { readonly cancelRequested: boolean }
  }
  readonly input: ColdMoveInput
  readonly ports: ColdMovePorts
  readonly signal: AbortSignal
  now(): Date
}

export const movedKeys = ({ serverId, heads }: ColdMoveInput): string[] => [
  `server/${serverId}`,
  ...heads.map(({ volumeId }) => `volume/${volumeId}`),
]

/** For its steps: half a minute, in which an agent that died is back. */
export const moveRetry: RetryPolicy = throughRestart

export const moveTasks = ['resize_prep', 'resize_migrating', 'resize_finish', 'resize_reverting'] as const

/** A `deleting` that was asked for meanwhile stays. */
export async function showTask({ ports, input }: ColdMoveContext, taskState: TaskState): Promise<void> {
  await ports.servers.updateIf(input.serverId, { taskStates: moveTasks }, { taskState })
}

/** What the request listed is what the server has: nothing was attached to it or detached since. */
export async function requireSameAttachments({ ports, input }: ColdMoveContext): Promise<void> {
  const found = (await ports.attachments.ofServer(input.serverId)).map(({ id, headId }) => `${id} ${headId}`)
  const listed = input.heads.map(({ attachmentId, from }) => `${attachmentId} ${from}`)
  if (found.toSorted().join() === listed.toSorted().join()) return
  throw new DomainError(
    'conflict',
    `The volumes of instance ${input.serverId} have changed since the request. Ask again.`,
  )
}

export const stopThere = (context: ColdMoveContext): Promise<null> =>
  blaming(context, context.input.serverId, async () => {
    const { op, input, ports } = context
    if (!input.ran) return null
    await ports.agents.compute(input.from).ensureGuestStopped(callerOf(op), input.serverId, input.graceMs)
    return null
  })

/** Undoes the stop: the guest runs again where it was, with its heads. */
export async function runAgainThere({ op, input, ports }: ColdMoveContext): Promise<void> {
  const server = await stillThere(ports, input)
  if (server === undefined || !input.ran) return
  await unlessGivenUp(isBeingEvacuated(ports, input.serverId), () => ensureGuestRuns(ports, op, server))
}

/** The guest is removed, and every head's access taken away: returns when that is proved. */
export const leave = (context: ColdMoveContext): Promise<null> =>
  blaming(context, context.input.serverId, async () => {
    const { op, input, ports } = context
    await ports.agents.compute(input.from).ensureNoGuest(callerOf(op), input.serverId)
    for (const attachment of await ports.attachments.ofServer(input.serverId)) {
      const head = input.heads.find(({ attachmentId }) => attachmentId === attachment.id)
      if (head === undefined) throw retryable(`Attachment ${attachment.id} is not part of this move.`)
      await ensureNoHead(ports, callerOf(op), { ...attachment, host: input.from, headId: head.from })
    }
    return null
  })

/** Undoes that: the heads have their access again. */
export async function comeBack({ op, input, ports }: ColdMoveContext): Promise<void> {
  if ((await stillThere(ports, input)) === undefined) return
  await unlessGivenUp(isBeingEvacuated(ports, input.serverId), () => ensureHeads(ports, op, input.serverId))
}

/** The server and its attachments are at the destination, in one transaction with the migration's record. */
export async function arrive(
  { op, input, ports }: ColdMoveContext,
  flavor: FlavorSnapshot & { id: string },
  migration: Partial<Pick<ServerMigration, 'status' | 'reserves' | 'vcpus' | 'memoryMib'>>,
): Promise<null> {
  const heads = Object.fromEntries(input.heads.map(({ attachmentId, to }) => [attachmentId, to]))
  const move = { from: input.from, host: input.to, heads, fence: op.fence }
  await ports.moves.arrive(input.serverId, move, flavorFields(flavor), {
    id: input.migrationId,
    ...migration,
  })
  return null
}

/** Undoes the arrival, where there was one: nothing has the volumes open at the destination by then. */
export async function departAgain(
  { op, input, ports }: ColdMoveContext,
  flavor: FlavorSnapshot & { id: string },
  migration: Partial<Pick<ServerMigration, 'status' | 'reserves' | 'vcpus' | 'memoryMib'>>,
): Promise<void> {
  const server = await ports.servers.find(input.serverId)
  if (server?.host !== input.to) return
  const heads = Object.fromEntries(input.heads.map(({ attachmentId, from }) => [attachmentId, from]))
  const move = { from: input.to, host: input.from, heads, fence: op.fence }
  await ports.moves.arrive(input.serverId, move, flavorFields(flavor), {
    id: input.migrationId,
    ...migration,
  })
}

/** Heads, and the guest where it is to run. */
export const settleThere = (context: ColdMoveContext): Promise<null> =>
  blaming(context, context.input.serverId, async () => {
    const { op, input, ports } = context
    const server = await ports.servers.get(input.serverId)
    if (input.runs) await ensureGuestRuns(ports, op, server)
    else await ensureHeads(ports, op, input.serverId)
    return null
  })

/**
 * Undoes that: no guest, and no access to the volumes, is left at the destination. Where that does not answer, a guest may
 * run there: the storage proves that it can't write, and it is ended when its host answers (reconcile/returned-host.ts).
 */
export async function leaveAgain(context: ColdMoveContext): Promise<void> {
  const { op, input, ports } = context
  const caller = callerOf(op)
  const patienceMs = ports.destinationPatienceMs ?? 30_000
  const reached = await unlessAway(context, patienceMs, async () => {
    await ports.agents.compute(input.to).ensureNoGuest(caller, input.serverId)
    for (const attachment of await ports.attachments.ofServer(input.serverId)) {
      const head = input.heads.find(({ attachmentId }) => attachmentId === attachment.id)
      if (head === undefined) continue
      const there: Attachment = { ...attachment, host: input.to, headId: head.to }
      await ensureNoHead(ports, caller, there)
    }
  })
  if (!reached) await fenceServer(ports, caller, input.serverId, context.now())
}

/** What the migration's record and the server's list of actions say of one that was undone. */
export const whyNot = ({ op }: ColdMoveContext, server: Pick<Server, 'fault'> | undefined): string =>
  op.control.cancelRequested
    ? 'The operation was cancelled.'
    : (server?.fault?.message ?? 'The operation failed.')

/** What a server shows whose guest runs, or does not. */
export const restingFields = (runs: boolean): { vmState: VmState; powerState: Server['powerState'] } =>
  runs
    ? { vmState: 'active', powerState: powerStates.running }
    : { vmState: 'stopped', powerState: powerStates.shutdown }

/** The server, while its record is at the place it was to leave. */
async function stillThere(ports: ColdMovePorts, input: ColdMoveInput): Promise<Server | undefined> {
  const server = await ports.servers.find(input.serverId)
  return server?.host === input.from ? server : undefined
}

const flavorFields = ({
  id,
  ...flavor
}: FlavorSnapshot & { id: string }): Pick<Server, 'flavorId' | 'flavor'> => ({ flavorId: id, flavor })
