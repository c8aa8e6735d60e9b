import { DomainError, isDomainError, messageOf } from '@volant/contract'
import type { FlavorSnapshot } from '../domain/flavor.ts'
import { isInTheWay } from '../domain/giving-way.ts'
import { LiveMigrationRefused } from '../domain/live-migration.ts'
import { requireState, rootDiskRefusal, type Server } from '../domain/server.ts'
import type { Attachment } from '../domain/volume.ts'
import type { ColdMoveInput, MovedHead } from '../operations/cold-move.ts'
import { resizeServer } from '../operations/resize-server.ts'
import type { Clock } from '../ports/clock.ts'
import type { ColdMigrationRequest, ColdMigrations } from '../ports/cold-migrations.ts'
import type { Destinations } from '../ports/destinations.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords } from '../ports/records.ts'
import type { ServerMigrationRecords } from '../ports/server-migrations.ts'
import type { InstanceActionRecords, ServerRecords } from '../ports/servers.ts'
import type { ComputeServices } from './compute-service.ts'

/** What a guest is given to shut down by itself before it is powered off. Milliseconds. */
export const shutdownGraceMs = 15_000

export interface ColdMove extends Pick<ColdMigrationRequest, 'host' | 'except' | 'among' | 'by' | 'parent'> {
  action: 'migrate' | 'resize'
  /** The server's own, where it is only to go to another host. */
  flavor: FlavorSnapshot & { id: string }
  /** Nobody is asked to confirm. */
  confirm: boolean
}

export interface ColdMoves extends ColdMigrations {
  /** Every precondition but the one of a destination. */
  require(server: Server, action: ColdMove['action']): Promise<void>
  /** After all that: chooses a destination and holds room there, then begins. What is refused changes nothing. */
  begin(server: Server, move: ColdMove): Promise<{ operationId: string }>
}

export interface ColdMoveOptions {
  servers: Pick<ServerRecords, 'get' | 'updateIf'>
  attachments: Pick<AttachmentRecords, 'ofServer'>
  migrations: ServerMigrationRecords
  actions: Pick<InstanceActionRecords, 'create' | 'finish'>
  destinations: Destinations
  services: Pick<ComputeServices, 'ofHost'>
  engine: Pick<OperationEngine, 'start' | 'holderOf'>
  clock: Clock
}

/** Cold migrations and resizes, as requests and other operations begin them. */
export function createColdMoves(options: ColdMoveOptions): ColdMoves {
  const { servers, attachments, destinations, engine } = options

  async function require(server: Server, action: ColdMove['action']): Promise<void> {
    requireState(server, action, ['active', 'stopped'])
    const rootDisk = rootDiskRefusal(server)
    if (rootDisk !== undefined) throw new LiveMigrationRefused('invalid', rootDisk, false)
    await requireHostUp(options, server.host)
    await requireFreeVolumes(engine, await attachments.ofServer(server.id))
  }

  async function begin(server: Server, move: ColdMove): Promise<{ operationId: string }> {
    await claimTask(options, server, move.action)
    // Of the operation, and of its record.
    const id = crypto.randomUUID()
    try {
      const rows = await attachments.ofServer(server.id)
      await requireFreeVolumes(engine, rows)
      const heads = movedHeads(rows)
      const { vcpus, memoryMib } = move.flavor
      const request = { serverId: server.id, ...choiceOf(move), flavor: { vcpus, memoryMib } }
      const to = await destinations.choose(request, (host) =>
        record(options, { id, server, move, heads, host }),
      )
      await recordAction(options, server, move.action, move.by)
      const runs = server.vmState === 'active'
      const common = { serverId: server.id, requestId: move.by.requestId, migrationId: id, heads }
      await engine.start(
        resizeServer,
        {
          ...common,
          from: server.host as string,
          to,
          ran: runs,
          runs,
          graceMs: shutdownGraceMs,
          confirm: move.confirm,
        },
        { id, ...(move.parent !== undefined && { parent: move.parent }) },
      )
      return { operationId: id }
    } catch (error) {
      const message = messageOf(error)
      await options.migrations.update(id, { status: 'error', reserves: null, message })
      await endAction(options, server.id, move.by.requestId, message)
      await servers.updateIf(server.id, { taskStates: ['resize_prep'] }, { taskState: null })
      throw error
    }
  }

  return {
    require,
    begin,
    async check({ serverId, ...choice }) {
      try {
        const server = await servers.get(serverId)
        await require(server, 'migrate')
        const candidates = await destinations.candidates({ serverId, ...choice })
        if (candidates.some(({ refusal }) => refusal === null)) return null
        const reasons = candidates
          .filter(({ host }) => choice.host === undefined || choice.host === host)
          .map(({ host, refusal }) => `${host} ${String(refusal)}.`)
        return { reason: `No valid host was found. ${reasons.join(' ')}`.trim(), passing: true }
      } catch (error) {
        if (!isDomainError(error) || error.code === 'internal') throw error
        const passing = error instanceof LiveMigrationRefused ? error.passing : error.code !== 'notFound'
        return { reason: messageOf(error), passing }
      }
    },
    async start(request) {
      const server = await servers.get(request.serverId)
      await require(server, 'migrate')
      const flavor = { ...server.flavor, id: server.flavorId }
      return begin(server, { ...request, action: 'migrate', flavor, confirm: true })
    },
  }
}

/** Claims the server for the action: from here on no other request changes it. */
async function claimTask(
  { servers }: Pick<ColdMoveOptions, 'servers'>,
  server: Server,
  action: string,
): Promise<void> {
  const expected = { vmStates: [server.vmState], taskStates: [null] }
  if (await servers.updateIf(server.id, expected, { taskState: 'resize_prep' })) return
  throw new LiveMigrationRefused(
    'conflict',
    `Cannot '${action}' instance ${server.id}: another request has just changed its state.`,
    true,
  )
}

/** Nova's words where the host has no agent that answers, and what is to be done. */
export async function requireHostUp(
  { services }: Pick<ColdMoveOptions, 'services'>,
  host: string | null,
): Promise<void> {
  if (host === null) {
    throw new DomainError('conflict', 'The server has no compute host: its build failed. Delete it.')
  }
  if ((await services.ofHost(host))?.up === true) return
  throw new LiveMigrationRefused(
    'conflict',
    `Service is unavailable at this time. Compute host ${host} is down: its guests can be evacuated, not migrated.`,
    true,
  )
}

/** A volume moves, or is attached, or its server does: never two at a time. */
export async function requireFreeVolumes(
  engine: Pick<OperationEngine, 'holderOf'>,
  rows: readonly Attachment[],
): Promise<void> {
  for (const { volumeId, status } of rows) {
    if (status !== 'attached') {
      throw new LiveMigrationRefused(
        'conflict',
        `Volume ${volumeId} is ${status}. Wait for that to end.`,
        true,
      )
    }
    const holder = await engine.holderOf(`volume/${volumeId}`)
    if (!isInTheWay(holder)) continue
    throw new LiveMigrationRefused(
      'conflict',
      `Operation ${holder.id} (${holder.kind}) works on volume ${volumeId}. Wait for its end, or cancel it.`,
      true,
    )
  }
}

const choiceOf = ({ host, except, among }: Pick<ColdMove, 'host' | 'except' | 'among'>) => ({
  ...(host !== undefined && { host }),
  ...(except !== undefined && { except }),
  ...(among !== undefined && { among }),
})

/** A new head for each attachment. */
export const movedHeads = (rows: readonly Attachment[]): MovedHead[] =>
  rows.map(({ id, volumeId, headId }) => ({
    attachmentId: id,
    volumeId,
    from: headId,
    to: crypto.randomUUID(),
  }))

async function record(
  { migrations, clock }: Pick<ColdMoveOptions, 'migrations' | 'clock'>,
  {
    id,
    server,
    move,
    heads,
    host,
  }: { id: string; server: Server; move: ColdMove; heads: ColdMoveInput['heads']; host: string },
): Promise<void> {
  const at = clock.now().toISOString()
  await migrations.create({
    id,
    serverId: server.id,
    kind: move.action === 'resize' ? 'resize' : 'migration',
    status: 'pre-migrating',
    sourceHost: server.host as string,
    destHost: host,
    oldFlavor: { ...server.flavor, id: server.flavorId },
    newFlavor: move.flavor,
    heads: Object.fromEntries(heads.map(({ attachmentId, to }) => [attachmentId, to])),
    wasRunning: server.vmState === 'active',
    vcpus: move.flavor.vcpus,
    memoryMib: move.flavor.memoryMib,
    reserves: host,
    operationId: id,
    userId: move.by.userId,
    projectId: move.by.projectId,
    memoryTotal: null,
    memoryProcessed: null,
    memoryRemaining: null,
    downtimeMs: null,
    message: null,
    createdAt: at,
    updatedAt: at,
  })
}

/** The row is there before the operation, which ends it. */
export async function recordAction(
  { actions, clock }: Pick<ColdMoveOptions, 'actions' | 'clock'>,
  server: Server,
  action: string,
  by: ColdMove['by'],
): Promise<void> {
  await actions.create({
    requestId: by.requestId,
    serverId: server.id,
    action,
    userId: by.userId,
    projectId: by.projectId,
    operationId: null,
    startedAt: clock.now().toISOString(),
    finishedAt: null,
    result: null,
    message: null,
    host: server.host,
  })
}

export const endAction = (
  { actions, clock }: Pick<ColdMoveOptions, 'actions' | 'clock'>,
  serverId: string,
  requestId: string,
  message: string,
): Promise<void> =>
  actions.finish({ serverId, requestId }, { finishedAt: clock.now().toISOString(), result: 'Error', message })
