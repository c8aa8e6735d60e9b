import { DomainError } from '@volant/contract'
import type { BlockDeviceEntry } from '../domain/block-device-mapping.ts'
import { defaultComputeQuotas, requireQuota } from '../domain/compute-quota.ts'
import { snapshotOf, type Flavor } from '../domain/flavor.ts'
import { requireMemberQuota, type ServerGroup } from '../domain/server-group.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { hostnameFrom, randomMac, type Server } from '../domain/server.ts'
import { zoneOf, type Topology } from '../domain/topology.ts'
import { createServer, type CreateServerInput } from '../operations/create-server.ts'
import type { Clock } from '../ports/clock.ts'
import type { ServerImages } from '../ports/compute-images.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import type { ServerGroupRecords } from '../ports/server-groups.ts'
import type {
  ComputeQuotaRecords,
  FlavorRecords,
  InstanceActionRecords,
  KeypairRecords,
  ServerRecords,
} from '../ports/servers.ts'
import type { ComputeServices, ShownService } from './compute-service.ts'
import { planDisks, type DiskPlan, type RootDisks } from './server-disks.ts'
import { visibleGroup } from './server-group.ts'
import { takeVolumes, type ServerVolumeSources } from './server-volumes.ts'
import { projectOf } from './volume-access.ts'
import { createTurns } from './turns.ts'

/** `POST /servers`, its values checked one by one. */
export interface ServerRequest {
  name: string
  description: string | null
  hostname?: string
  flavorId: string
  imageId?: string
  blockDevices: BlockDeviceEntry[]
  /** Names of bridges. */
  bridges: string[]
  metadata: Record<string, string>
  tags: string[]
  keyName: string | null
  userData: string | null
  configDrive: boolean
  securityGroups: string[]
  trustedCerts: string[] | null
  /** `ZONE`, `ZONE:HOST` or `ZONE:HOST:NODE`. */
  availabilityZone?: string
  /** Microversion 2.74. */
  host?: string
  /** The server group that it is to be in, `os:scheduler_hints`. */
  groupId?: string
  minCount: number
  maxCount: number
}

export interface ServerCreation {
  create(principal: Principal, request: ServerRequest, requestId: string): Promise<Server[]>
}

interface Options extends ServerVolumeSources {
  servers: ServerRecords
  flavors: Pick<FlavorRecords, 'find' | 'list'>
  keypairs: Pick<KeypairRecords, 'find'>
  quotas: Pick<ComputeQuotaRecords, 'of'>
  groups: Pick<ServerGroupRecords, 'find'>
  actions: Pick<InstanceActionRecords, 'create'>
  volumes: ServerVolumeSources['volumes'] & Pick<VolumeRecords, 'find'>
  snapshots: Pick<SnapshotRecords, 'find'>
  images: ServerImages
  rootDisks: RootDisks
  engine: Pick<OperationEngine, 'start'>
  services: Pick<ComputeServices, 'all'>
  topology: Topology
  clock: Clock
}

export function createServerCreation(options: Options): ServerCreation {
  const inTurn = createTurns()
  return {
    async create(principal, request, requestId) {
      const projectId = projectOf(principal)
      enforce(principal, 'os_compute_api:servers:create', 'member', projectId)
      const place = destination(options.topology, await options.services.all(), principal, request)
      const group = await groupFor(options, principal, request.groupId)
      const flavor = await flavorFor(options, principal, request.flavorId)
      const plan = await planDisks(options, principal, request, flavor)
      if (request.keyName !== null && !(await options.keypairs.find(principal.userId, request.keyName))) {
        throw new DomainError('invalid', 'Invalid key_name provided.')
      }
      // One after the other, so that two requests never count on the same rest of a quota.
      return inTurn(async () => {
        const count = await countWithinQuota(options, projectId, flavor, request)
        if (group !== undefined) await requireRoom(options, group, count)
        return makeServers(options, { principal, projectId, request, requestId, flavor, plan, place, count })
      })
    },
  }
}

/** Zone and host by name, as `availability_zone` and `host` give them. */
function destination(
  topology: Topology,
  services: readonly ShownService[],
  principal: Principal,
  request: ServerRequest,
): Pick<CreateServerInput, 'availabilityZone' | 'host'> {
  const [zone, zoneHost, node, ...rest] = (request.availabilityZone ?? '').split(':')
  if (rest.length > 0) {
    throw new DomainError('invalid', `Unable to parse availability_zone: ${request.availabilityZone}`)
  }
  const forced = [zoneHost, node].find((part) => part !== undefined && part !== '')
  if (forced !== undefined) enforce(principal, 'os_compute_api:servers:create:forced_host', 'admin')
  if (request.host !== undefined) {
    enforce(principal, 'compute:servers:create:requested_destination', 'admin')
    if (forced !== undefined) {
      throw new DomainError(
        'invalid',
        'One mechanism with host and/or hypervisor_hostname and another mechanism with zone:host:node are ' +
          'mutually exclusive.',
      )
    }
  }
  const host = forced ?? request.host
  const definition = topology.computeHosts.find(({ name }) => name === host)
  if (host !== undefined && definition === undefined) {
    throw new DomainError('invalid', `Compute host ${host} could not be found.`)
  }
  if (zone === undefined || zone === '') return host === undefined ? {} : { host }
  if (host === undefined) {
    const isThere = services.some(
      (service) => service.binary === 'nova-compute' && service.zone === zone && !service.disabled,
    )
    if (isThere) return { availabilityZone: zone }
    throw new DomainError('invalid', 'The requested availability zone is not available')
  }
  const itsZone = zoneOf(topology, definition)
  if (itsZone === zone) return { availabilityZone: zone, host }
  throw new DomainError('invalid', `Compute host ${host} is in availability zone ${itsZone}, not in ${zone}.`)
}

async function groupFor(
  options: Options,
  principal: Principal,
  groupId: string | undefined,
): Promise<ServerGroup | undefined> {
  if (groupId === undefined) return undefined
  const group = await visibleGroup(options.groups, principal, groupId)
  if (group !== undefined) return group
  throw new DomainError('invalid', `Instance group ${groupId} could not be found.`)
}

/** Members count against the quota of the group's project. */
async function requireRoom(options: Options, group: ServerGroup, more: number): Promise<void> {
  const limits = { ...defaultComputeQuotas, ...(await options.quotas.of(group.projectId)) }
  const members = (await options.groups.find(group.id))?.members ?? []
  requireMemberQuota(limits.server_group_members, members.length, more)
}

async function flavorFor(options: Options, principal: Principal, flavorId: string): Promise<Flavor> {
  const flavor = await options.flavors.find(flavorId)
  const visible =
    flavor !== undefined &&
    (flavor.isPublic ||
      (await options.flavors.list({ projectId: principal.projectId })).some(({ id }) => id === flavorId))
  if (!visible) throw new DomainError('invalid', `Flavor ${flavorId} could not be found.`)
  return flavor
}

/** As many as asked for, or as many of them as the quota allows, but not fewer than `minCount`. */
async function countWithinQuota(
  options: Options,
  projectId: string,
  flavor: Flavor,
  { minCount, maxCount }: ServerRequest,
): Promise<number> {
  const limits = { ...defaultComputeQuotas, ...(await options.quotas.of(projectId)) }
  const used = await options.servers.usageOfProject(projectId)
  const need = (count: number) => ({
    instances: count,
    cores: count * flavor.vcpus,
    ram: count * flavor.memoryMib,
  })
  for (let count = maxCount; count > minCount; count -= 1) {
    try {
      requireQuota(limits, used, need(count))
      return count
    } catch {
      // Fewer may fit.
    }
  }
  requireQuota(limits, used, need(minCount))
  return minCount
}

interface Order {
  principal: Principal
  projectId: string
  request: ServerRequest
  requestId: string
  flavor: Flavor
  plan: DiskPlan
  place: Pick<CreateServerInput, 'availabilityZone' | 'host'>
  count: number
}

/**
 * Makes rows, volumes and operations. Where one of them is refused, nothing remains of the servers that have not
 * begun. A crash leaves rows that say what was claimed, for `reconcile/servers.ts`.
 */
async function makeServers(options: Options, order: Order): Promise<Server[]> {
  const undo = new Map<string, (() => Promise<unknown>)[]>()
  try {
    const reservationId = `r-${Math.random().toString(36).slice(2, 10).padEnd(8, '0')}`
    const drafts = Array.from({ length: order.count }, (_, index) =>
      draft(options, order, index, reservationId),
    )
    const servers = await options.servers.create(drafts, order.request.groupId)
    for (const { id, createdAt } of servers) {
      undo.set(id, [() => options.servers.update(id, { vmState: 'deleted', deletedAt: createdAt })])
    }
    for (const server of servers) await takeVolumes(options, order, server, undo.get(server.id) ?? [])
    for (const server of servers) {
      await begin(options, order, server)
      undo.delete(server.id)
    }
    return servers
  } catch (error) {
    for (const step of [...undo.values()].flatMap((steps) => steps.toReversed())) await step().catch(() => {})
    throw error
  }
}

async function begin(options: Options, order: Order, server: Server): Promise<void> {
  const { requestId } = order
  // The row is there before the operation, which ends it.
  await options.actions.create({
    requestId,
    serverId: server.id,
    action: 'create',
    userId: order.principal.userId,
    projectId: order.projectId,
    operationId: null,
    startedAt: server.createdAt,
    finishedAt: null,
    result: null,
    message: null,
    host: null,
  })
  await options.engine.start(createServer, { serverId: server.id, requestId, ...order.place })
}

function draft(
  options: Options,
  { principal, projectId, request, flavor, plan, place, count }: Order,
  index: number,
  reservationId: string,
): Omit<Server, 'number'> {
  const id = crypto.randomUUID()
  const at = options.clock.now().toISOString()
  const name = count > 1 ? `${request.name}-${index + 1}`.slice(-255) : request.name
  return {
    id,
    projectId,
    userId: principal.userId,
    name,
    description: request.description,
    hostname: request.hostname ?? hostnameFrom(name, id),
    vmState: 'building',
    taskState: 'scheduling',
    powerState: 0,
    fault: null,
    host: null,
    pinnedZone: place.availabilityZone ?? null,
    flavorId: flavor.id,
    flavor: snapshotOf(flavor),
    imageId: plan.imageId,
    kernelId: plan.boot.kernelId,
    ramdiskId: plan.boot.ramdiskId,
    boot: plan.boot.source,
    keyName: request.keyName,
    userData: request.userData,
    configDrive: request.configDrive ? 'True' : '',
    metadata: request.metadata,
    tags: request.tags,
    nics: request.bridges.map((bridge) => ({
      bridge,
      mac: randomMac(crypto.getRandomValues(new Uint8Array(3))),
    })),
    securityGroups: request.securityGroups,
    trustedCerts: request.trustedCerts,
    rootDeviceName: '/dev/vda',
    reservationId,
    launchIndex: index,
    lockedBy: null,
    lockedReason: null,
    launchedAt: null,
    terminatedAt: null,
    deletedAt: null,
    createdAt: at,
    updatedAt: at,
  }
}
