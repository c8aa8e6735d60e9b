import { DomainError, isDomainError, messageOf } from '@volant/contract'
import { defaultComputeQuotas, requireQuota } from '../domain/compute-quota.ts'
import { snapshotOf, type Flavor, type FlavorSnapshot } from '../domain/flavor.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import type { ServerMigration } from '../domain/server-migration.ts'
import { powerStates, requireState, requireUnlocked, type Server } from '../domain/server.ts'
import type { Topology } from '../domain/topology.ts'
import { confirmResize } from '../operations/confirm-resize.ts'
import { revertResize } from '../operations/revert-resize.ts'
import type { ServerImages } from '../ports/compute-images.ts'
import type { VolumeRecords } from '../ports/records.ts'
import type { ComputeQuotaRecords, FlavorRecords, ServerRecords } from '../ports/servers.ts'
import {
  endAction,
  movedHeads,
  recordAction,
  requireFreeVolumes,
  requireHostUp,
  shutdownGraceMs,
  type ColdMoveOptions,
  type ColdMoves,
} from './cold-migration.ts'
import { administeredServer, changeableServer } from './server-access.ts'
import { createTurns } from './turns.ts'

/** Cold migration and resize, as Nova has them; each returns when its operation is recorded. */
export interface ServerResizes {
  /** `host` absent: the scheduler chooses. */
  migrate(principal: Principal, serverId: string, host: string | undefined, requestId: string): Promise<void>
  resize(principal: Principal, serverId: string, flavorId: string, requestId: string): Promise<void>
  confirm(principal: Principal, serverId: string, requestId: string): Promise<void>
  revert(principal: Principal, serverId: string, requestId: string): Promise<void>
  /** Confirms those that nobody has confirmed or reverted in so many seconds since they came; gives their ids. */
  confirmLeft(seconds: number): Promise<string[]>
}

interface Options extends Omit<ColdMoveOptions, 'destinations'> {
  servers: ServerRecords
  flavors: Pick<FlavorRecords, 'find' | 'list'>
  quotas: Pick<ComputeQuotaRecords, 'of'>
  images: Pick<ServerImages, 'visible'>
  volumes: Pick<VolumeRecords, 'find'>
  moves: ColdMoves
  topology: Topology
}

export function createServerResizes(options: Options): ServerResizes {
  const { servers, moves, topology } = options
  const inTurn = createTurns()
  return {
    async migrate(principal, serverId, host, requestId) {
      const policy = `os_compute_api:os-migrate-server:migrate${host === undefined ? '' : ':host'}`
      const server = await administeredServer(servers, principal, serverId, policy)
      requireUnlocked(server, { isAdmin: isAdmin(principal) })
      requireState(server, 'migrate', ['active', 'stopped'])
      if (host !== undefined && host === server.host) {
        throw new DomainError('invalid', 'Cannot migrate to the host where the server exists.')
      }
      if (host !== undefined && !topology.computeHosts.some(({ name }) => name === host)) {
        throw new DomainError('invalid', `Compute host ${host} could not be found.`)
      }
      await moves.require(server, 'migrate')
      const flavor = { ...server.flavor, id: server.flavorId }
      const by = whoOf(principal, server, requestId)
      const asked = host === undefined ? {} : { host }
      await moves.begin(server, { action: 'migrate', flavor, confirm: false, by, ...asked })
    },
    async resize(principal, serverId, flavorId, requestId) {
      const policy = 'os_compute_api:servers:resize'
      const server = await changeableServer(servers, principal, serverId, policy)
      requireState(server, 'resize', ['active', 'stopped'])
      const flavor = await flavorFor(options, principal, server, flavorId)
      await moves.require(server, 'resize')
      // One after the other, so that two requests never count on the same rest of a quota.
      await inTurn(async () => {
        await requireRoom(options, server, server.flavor, flavor)
        const by = whoOf(principal, server, requestId)
        await moves.begin(server, { action: 'resize', flavor, confirm: false, by })
      })
    },
    async confirm(principal, serverId, requestId) {
      const policy = 'os_compute_api:servers:confirm_resize'
      const server = await changeableServer(servers, principal, serverId, policy)
      requireState(server, 'confirmResize', ['resized'])
      await beginConfirm(options, server, await claimMigration(options, server, 'confirming'), {
        ...whoOf(principal, server, requestId),
      })
    },
    async revert(principal, serverId, requestId) {
      const policy = 'os_compute_api:servers:revert_resize'
      const server = await changeableServer(servers, principal, serverId, policy)
      requireState(server, 'revertResize', ['resized'])
      await requireHostUp(options, server.host)
      await requireFreeVolumes(options.engine, await options.attachments.ofServer(serverId))
      const finished = await finishedMigration(options, server)
      await requireHostUp(options, finished.sourceHost)
      await inTurn(async () => {
        await requireRoom(options, server, finished.newFlavor, finished.oldFlavor)
        const migration = await claimMigration(options, server, 'reverting')
        await beginRevert(options, server, migration, whoOf(principal, server, requestId))
      })
    },
    confirmLeft: (seconds) => confirmLeft(options, seconds),
  }
}

const whoOf = (principal: Principal, server: Server, requestId: string) => ({
  userId: principal.userId,
  projectId: principal.projectId ?? server.projectId,
  requestId,
})

/** The flavor to resize to, where the server may have it. */
async function flavorFor(
  options: Options,
  principal: Principal,
  server: Server,
  flavorId: string,
): Promise<FlavorSnapshot & { id: string }> {
  const { flavors, images } = options
  const flavor = await flavors.find(flavorId)
  const visible =
    flavor !== undefined &&
    !flavor.disabled &&
    (flavor.isPublic ||
      (await flavors.list({ projectId: principal.projectId })).some(({ id }) => id === flavorId))
  if (!visible) throw new DomainError('invalid', `Flavor ${flavorId} could not be found.`)
  if (flavorId === server.flavorId) {
    throw new DomainError('invalid', 'When resizing, instances must change flavor!')
  }
  await checkImage(images, principal, server, flavor)
  await checkRootDisk(options, server, flavor)
  return { ...snapshotOf(flavor), id: flavor.id }
}

async function checkImage(
  images: Options['images'],
  principal: Principal,
  server: Server,
  flavor: Flavor,
): Promise<void> {
  if (server.imageId === null) return
  if (flavor.diskGib < server.flavor.diskGib) {
    const reason =
      flavor.diskGib === 0 ? 'Resize to zero disk flavor is not allowed.' : 'Unable to resize disk down.'
    throw new DomainError('invalid', `Server disk was unable to be resized because: ${reason}`)
  }
  const image = await images.visible(principal, server.imageId)
  if (image !== undefined && image.minRamMib > flavor.memoryMib) {
    throw new DomainError('invalid', "Flavor's memory is too small for requested image.")
  }
}

/** A root disk that is a volume may be larger than its flavor's disk: it has the image's size, or kept a larger one. */
async function checkRootDisk(
  { attachments, volumes }: Pick<Options, 'attachments' | 'volumes'>,
  server: Server,
  { diskGib }: Flavor,
): Promise<void> {
  if (diskGib === server.flavor.diskGib) return
  const root = (await attachments.ofServer(server.id)).find(({ rootOf }) => rootOf === server.id)
  const volume = root === undefined ? undefined : await volumes.find(root.volumeId)
  if (volume === undefined || volume.sizeGib <= diskGib) return
  const reason = `Unable to resize disk down: the root disk has ${volume.sizeGib} GiB.`
  throw new DomainError('invalid', `Server disk was unable to be resized because: ${reason}`)
}

/** Only what grows counts. */
async function requireRoom(
  { quotas, servers }: Pick<Options, 'quotas' | 'servers'>,
  { projectId }: Server,
  from: Pick<FlavorSnapshot, 'vcpus' | 'memoryMib'>,
  to: Pick<FlavorSnapshot, 'vcpus' | 'memoryMib'>,
): Promise<void> {
  const cores = Math.max(0, to.vcpus - from.vcpus)
  const ram = Math.max(0, to.memoryMib - from.memoryMib)
  const limits = { ...defaultComputeQuotas, ...(await quotas.of(projectId)) }
  const counted = {
    instances: -1,
    cores: cores === 0 ? -1 : limits.cores,
    ram: ram === 0 ? -1 : limits.ram,
  }
  requireQuota(counted, await servers.usageOfProject(projectId), { instances: 0, cores, ram })
}

async function finishedMigration(
  { migrations }: Pick<Options, 'migrations'>,
  { id: serverId }: Server,
): Promise<ServerMigration> {
  const kinds = ['resize', 'migration'] as const
  const [found] = await migrations.list({ serverId, kinds, statuses: ['finished'] }, { limit: 1 })
  if (found !== undefined) return found
  throw new DomainError('invalid', 'Instance has not been resized.')
}

/** The first of two requests has it. */
async function claimMigration(
  options: Pick<Options, 'migrations'>,
  server: Server,
  status: 'confirming' | 'reverting',
): Promise<ServerMigration> {
  const found = await finishedMigration(options, server)
  if (await options.migrations.updateIf(found.id, ['finished'], { status })) return found
  throw new DomainError(
    'conflict',
    `The resize of instance ${server.id} is just being confirmed or reverted.`,
  )
}

type Who = ReturnType<typeof whoOf>

async function beginConfirm(
  options: Options,
  server: Server,
  { id: migrationId }: ServerMigration,
  by: Who,
): Promise<void> {
  const { requestId } = by
  try {
    await recordAction(options, server, 'confirmResize', by)
    await options.engine.start(confirmResize, { serverId: server.id, requestId, migrationId })
  } catch (error) {
    await options.migrations.updateIf(migrationId, ['confirming'], { status: 'finished' })
    await endAction(options, server.id, requestId, messageOf(error))
    throw error
  }
}

/** As Nova does after its `resize_confirm_window`, in the name of who asked for the resize. Lock or not. */
async function confirmLeft(options: Options, seconds: number): Promise<string[]> {
  const changedBefore = new Date(options.clock.now().getTime() - seconds * 1000).toISOString()
  const kinds = ['resize', 'migration'] as const
  const left = await options.migrations.list({ kinds, statuses: ['finished'], changedBefore })
  const confirmed: string[] = []
  for (const { serverId, userId, projectId } of left) {
    const server = await options.servers.find(serverId)
    if (server?.vmState !== 'resized' || server.taskState !== null) continue
    const by = { userId, projectId, requestId: `req-${crypto.randomUUID()}` }
    try {
      await beginConfirm(options, server, await claimMigration(options, server, 'confirming'), by)
      confirmed.push(serverId)
    } catch (error) {
      // Somebody was just faster, or works on it: it is looked at again.
      if (!isDomainError(error) || error.code === 'internal') throw error
    }
  }
  return confirmed
}

async function beginRevert(
  options: Options,
  server: Server,
  { id: migrationId, sourceHost, wasRunning }: ServerMigration,
  by: Who,
): Promise<void> {
  const { requestId } = by
  const expected = { vmStates: [server.vmState], taskStates: [null] }
  try {
    if (!(await options.servers.updateIf(server.id, expected, { taskState: 'resize_reverting' }))) {
      throw new DomainError(
        'conflict',
        `Cannot 'revertResize' instance ${server.id}: another request has just changed its state.`,
      )
    }
    const rows = await options.attachments.ofServer(server.id)
    await requireFreeVolumes(options.engine, rows)
    await recordAction(options, server, 'revertResize', by)
    const { shutdown, crashed } = powerStates
    await options.engine.start(revertResize, {
      serverId: server.id,
      requestId,
      migrationId,
      from: server.host as string,
      to: sourceHost,
      heads: movedHeads(rows),
      ran: server.powerState !== shutdown && server.powerState !== crashed,
      runs: wasRunning,
      graceMs: shutdownGraceMs,
    })
  } catch (error) {
    await options.migrations.updateIf(migrationId, ['reverting'], { status: 'finished' })
    await endAction(options, server.id, requestId, messageOf(error))
    await options.servers.updateIf(server.id, { taskStates: ['resize_reverting'] }, { taskState: null })
    throw error
  }
}
