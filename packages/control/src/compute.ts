import type { Caller } from '@volant/contract'
import { bind, type BoundOperation } from '@volant/saga'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import { createColdMoves } from './app/cold-migration.ts'
import { createComputeLimits } from './app/compute-quota.ts'
import { createComputeServices } from './app/compute-service.ts'
import { createEvacuations } from './app/evacuation.ts'
import { createFlavors } from './app/flavor.ts'
import type { HostPlans } from './app/host-plan.ts'
import { createHypervisors } from './app/hypervisor.ts'
import { createKeypairs } from './app/keypair.ts'
import { createLiveMigrations } from './app/live-migration.ts'
import { createScheduler } from './app/scheduler.ts'
import { createServerActions } from './app/server-action.ts'
import { createServerCreation } from './app/server-create.ts'
import type { RootDisks } from './app/server-disks.ts'
import { createServerGroups } from './app/server-group.ts'
import { createServerMigrations } from './app/server-migration.ts'
import { createServerResizes } from './app/server-resize.ts'
import { createServers } from './app/server.ts'
import { createVolumeAttachments } from './app/volume-attachment.ts'
import { createVolumeRemover } from './app/volume-removal.ts'
import { deletionClaims } from './db/repositories/deletion-claim.ts'
import { computeQuotaRecords } from './db/repositories/compute-quota.ts'
import { computeServiceRecords } from './db/repositories/compute-service.ts'
import { fencedHeadRecords } from './db/repositories/fenced-head.ts'
import { flavorRecords } from './db/repositories/flavor.ts'
import { instanceActionRecords } from './db/repositories/instance-action.ts'
import { keypairRecords } from './db/repositories/keypair.ts'
import { serverGroupRecords } from './db/repositories/server-group.ts'
import { serverMigrationRecords } from './db/repositories/server-migration.ts'
import { serverMoves } from './db/repositories/server-move.ts'
import { serverRecords } from './db/repositories/server.ts'
import { volumeClaims } from './db/repositories/volume-claim.ts'
import type { Database } from './db/schema.ts'
import type { Topology } from './domain/topology.ts'
import type { LiveMigrationPolicy } from './domain/live-migration.ts'
import { createHosts } from './hosts.ts'
import type { TokenVerifier } from './http/authenticate.ts'
import { computeService } from './http/compute/service.ts'
import type { HttpService } from './http/server.ts'
import { confirmResize } from './operations/confirm-resize.ts'
import { createServer } from './operations/create-server.ts'
import { deleteServer } from './operations/delete-server.ts'
import { liveMigrateServer } from './operations/live-migrate-server.ts'
import { evacuateServer } from './operations/evacuate-server.ts'
import { pauseServer } from './operations/pause-server.ts'
import { rebootServer } from './operations/reboot-server.ts'
import { resizeServer } from './operations/resize-server.ts'
import { revertResize } from './operations/revert-resize.ts'
import { startServer } from './operations/start-server.ts'
import { stopServer } from './operations/stop-server.ts'
import { takeOverServer } from './operations/take-over-server.ts'
import type { Agents } from './ports/agents.ts'
import type { Backend } from './ports/backend.ts'
import type { Clock } from './ports/clock.ts'
import type { ServerImages } from './ports/compute-images.ts'
import type { MigrationStarter } from './ports/migrations.ts'
import type { OperationEngine } from './ports/operations.ts'
import type { Places } from './ports/places.ts'
import type { AttachmentRecords, CopyRecords, SnapshotRecords, VolumeRecords } from './ports/records.ts'
import type { Pools } from './ports/block-storage.ts'
import type { VolumeCreator } from './ports/volumes.ts'
import { giveUpSilentHosts } from './reconcile/automatic-evacuation.ts'
import { every } from './reconcile/every.ts'
import { createGuestWatch } from './reconcile/guests.ts'
import { finishLeftMigrations } from './reconcile/left-migrations.ts'
import { settleReturnedHost } from './reconcile/returned-host.ts'
import { createServerRecovery } from './reconcile/servers.ts'

/** Between two looks for hosts that are silent. Milliseconds. */
const givingUpEveryMs = 5_000
/** Between two looks for servers whose resize nobody confirmed. Milliseconds. */
const confirmingEveryMs = 10_000
/** How long a start waits for the compute hosts' first answers. Milliseconds. */
const firstLookMs = 1000

export interface ComputeOptions {
  db: Kysely<Database>
  records: {
    volumes: VolumeRecords
    copies: CopyRecords
    attachments: AttachmentRecords
    snapshots: SnapshotRecords
  }
  backend: Backend
  agents: Agents
  places: Places
  /** May be built after this, of `operations`: nothing is asked of it before `prepare`. */
  engine: OperationEngine
  images: ServerImages
  /** How block-device mappings make volumes. */
  creator: VolumeCreator
  pools: Pick<Pools, 'candidates'>
  rootDisks: RootDisks
  /** After how long a resized or migrated server is confirmed that nobody confirmed; 0: never. */
  resizeConfirmWindowSeconds: number
  liveMigration: LiveMigrationPolicy
  migrations: Pick<MigrationStarter, 'cancelMigration'>
  tokens: TokenVerifier
  topology: Topology
  clock: Clock
  log: Logger
}

export interface Compute {
  service: HttpService
  /** For the engine. */
  operations: BoundOperation[]
  /** The emptying of compute hosts, and their filling. */
  plans: HostPlans
  /** Rows for new hosts, a first look at them, and servers whose request a crash cut short. After the engine. */
  prepare(caller: Caller): Promise<void>
  /** One look at all hosts and guests. */
  refresh(): Promise<void>
  /** Looks every other second from now on. */
  start(): void
  stop(): Promise<void>
  serverName(serverId: string): Promise<string | null>
  /** From where to where an operation takes a server; null: it takes none to another host. */
  serverHosts(operationId: string): Promise<{ source: string; target: string | null } | null>
}

/** The Compute service and all that is behind it. */
export function createCompute(options: ComputeOptions): Compute {
  const parts = partsOf(options)
  const { servers, services, watch, recovery, serverMigrations, scheduler } = parts
  const { attachments } = options.records
  const hosts = createHosts({
    ...options,
    ...parts,
    attachments,
    migrations: serverMigrations,
    destinations: scheduler,
  })
  const givingUp = { ...options, ...parts, ...evacuationOf(options.topology), hosts: watch }
  let endGivingUp: (() => Promise<void>) | undefined
  let endConfirming: (() => Promise<void>) | undefined
  return {
    operations: [...operationsOf(options, parts), ...hosts.operations],
    plans: hosts.plans,
    service: serviceOf(options, parts),
    async prepare(caller) {
      parts.late.caller = caller
      await services.prepare()
      // A host that takes longer is shown as down until it answers, and holds nobody up.
      await Promise.race([watch.refresh(), sleep(firstLookMs, undefined, { ref: false })])
      await recovery.recover()
    },
    serverName: async (serverId) => (await servers.find(serverId))?.name ?? null,
    async serverHosts(operationId) {
      const migration = await parts.serverMigrations.find(operationId)
      return migration === undefined ? null : { source: migration.sourceHost, target: migration.destHost }
    },
    refresh: watch.refresh,
    start() {
      watch.start()
      endGivingUp ??= every(givingUpEveryMs, () => giveUpSilentHosts(givingUp))
      endConfirming ??= confirmLeftResizes(options, parts)
    },
    async stop() {
      await endGivingUp?.()
      await endConfirming?.()
      await watch.stop()
    },
  }
}

function confirmLeftResizes(
  { resizeConfirmWindowSeconds: window, log }: ComputeOptions,
  { resizes }: Parts,
): (() => Promise<void>) | undefined {
  if (window === 0) return undefined
  const pass = async (): Promise<void> => {
    for (const server of await resizes.confirmLeft(window)) {
      log.info({ server, window }, 'its resize was confirmed: nobody did in the time for that')
    }
  }
  return every(Math.min(confirmingEveryMs, window * 1000), pass, { atOnce: true })
}

/** What automatic evacuation goes by; with no groups it gives nobody up. */
function evacuationOf({ evacuation = [], computeHosts }: Topology) {
  return {
    evacuating: evacuation,
    addressOf(name: string): { host: string; port: number } | undefined {
      const agent = computeHosts.find((host) => host.name === name)?.agent
      if (agent === undefined) return undefined
      const { hostname, port } = new URL(agent)
      return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) }
    },
  }
}

/** What operations and the application share. */
function partsOf(options: ComputeOptions) {
  const { db, records, agents, backend, places, engine, topology, clock, log } = options
  const servers = serverRecords(db)
  const actions = instanceActionRecords(db)
  const serverMigrations = serverMigrationRecords(db)
  const groups = serverGroupRecords(db)
  const serviceRecords = computeServiceRecords(db)
  const fencedHeads = fencedHeadRecords(db)
  const computeHosts = topology.computeHosts.map(({ name }) => name)
  // The engine, whose fence it is, comes after this.
  const late: { caller?: Caller } = {}
  const settling = {
    ...records,
    servers,
    services: serviceRecords,
    fencedHeads,
    agents,
    backend,
    places,
    engine,
    log,
  }
  const watch = createGuestWatch({
    computeHosts,
    agents,
    servers,
    clock,
    log,
    async settle(host, guests) {
      if (late.caller === undefined) return 0
      const zombies = await settleReturnedHost(settling, late.caller, host, guests)
      await finishLeftMigrations(settling, late.caller, host, guests)
      return zombies
    },
  })
  const scheduler = createScheduler({
    servers,
    services: serviceRecords,
    migrations: serverMigrations,
    groups,
    hosts: watch,
    refresh: watch.refresh,
    topology,
    now: () => clock.now(),
  })
  const remover = createVolumeRemover({
    volumes: records.volumes,
    deletionClaims: deletionClaims(db, clock),
    engine,
  })
  const services = createComputeServices({ records: serviceRecords, hosts: watch, topology, clock })
  const moving = {
    attachments: records.attachments,
    servers,
    actions,
    serverMigrations,
    destinations: scheduler,
    engine,
    clock,
  }
  const cold = { ...moving, migrations: serverMigrations, services }
  const coldMigrations = createColdMoves(cold)
  return {
    late,
    fencedHeads,
    servers,
    actions,
    serverMigrations,
    groups,
    watch,
    scheduler,
    remover,
    liveMigrations: createLiveMigrations({ ...moving, agents, services, topology }),
    services,
    evacuations: createEvacuations({ ...moving, migrations: serverMigrations, services, topology }),
    coldMigrations,
    resizes: createServerResizes({
      ...cold,
      volumes: records.volumes,
      flavors: flavorRecords(db),
      quotas: computeQuotaRecords(db),
      images: options.images,
      moves: coldMigrations,
      topology,
    }),
    recovery: createServerRecovery({ ...moving, ...records, serverMigrations, remover, log }),
  }
}

type Parts = ReturnType<typeof partsOf>

function operationsOf(options: ComputeOptions, parts: Parts): BoundOperation[] {
  const { db, records, images, agents, backend, places, migrations, engine } = options
  const { servers, actions, serverMigrations, scheduler, remover } = parts
  const ports = {
    ...records,
    pools: options.pools,
    servers,
    actions,
    serverMigrations,
    moves: serverMoves(db),
    images,
    agents,
    backend,
    places,
    scheduler,
    migrations,
    engine,
    remover,
  }
  const evacuating = { ...ports, fencedHeads: parts.fencedHeads, destinations: scheduler }
  return [
    bind(evacuateServer, evacuating),
    bind(takeOverServer, evacuating),
    bind(createServer, ports),
    bind(deleteServer, ports),
    bind(startServer, ports),
    bind(stopServer, ports),
    bind(rebootServer, ports),
    bind(pauseServer, ports),
    bind(liveMigrateServer, {
      ...ports,
      destinations: scheduler,
      policy: options.liveMigration,
      memoryCopies: new Map(),
      monotonic: () => performance.now(),
    }),
    bind(resizeServer, evacuating),
    bind(confirmResize, ports),
    bind(revertResize, evacuating),
  ]
}

function serviceOf(options: ComputeOptions, parts: Parts): HttpService {
  const { db, records, agents, engine, topology, clock, images, creator, tokens } = options
  const { servers, actions, services, groups, watch, remover, recovery } = parts
  const flavors = flavorRecords(db)
  const keypairs = keypairRecords(db)
  const quotas = computeQuotaRecords(db)
  const shared = { servers, actions, engine, clock, claims: volumeClaims(db), ...records }
  const moving = { ...shared, migrations: parts.serverMigrations, services }
  return computeService({
    servers: createServers({ ...moving, groups }),
    creation: createServerCreation({
      ...shared,
      flavors,
      keypairs,
      quotas,
      groups,
      images,
      rootDisks: options.rootDisks,
      creator,
      remover,
      services,
      topology,
    }),
    actions: createServerActions({ ...shared, agents }),
    liveMigrations: parts.liveMigrations,
    evacuations: parts.evacuations,
    resizes: parts.resizes,
    migrations: createServerMigrations(moving),
    attachments: createVolumeAttachments({ ...shared, finishes: recovery }),
    flavors: createFlavors({ flavors, clock }),
    hypervisors: createHypervisors({
      services,
      servers,
      migrations: parts.serverMigrations,
      hosts: watch,
      topology,
    }),
    services,
    keypairs: createKeypairs({ keypairs, clock }),
    limits: createComputeLimits({ quotas, servers, groups }),
    groups: createServerGroups({ groups, quotas, clock }),
    tokens,
    topology,
  })
}
