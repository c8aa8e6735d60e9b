/**
 * The composition root: the only file that constructs things. It opens the state folder and the database, builds the
 * node agents, the operations and the services, takes the state over, and listens. Of what an earlier control plane
 * had under way it carries on at once what cannot wait, such as a cutover; the rest when it listens.
 */
import { existsSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { DomainError } from '@volant/contract'
import { writeJsonDurably } from '@volant/qemu'
import {
  bind,
  Executor,
  planRecovery,
  refusalMessage,
  type BoundOperation,
  type Unfinished,
} from '@volant/saga'
import type { Logger } from 'pino'
import packageFile from '../../../package.json' with { type: 'json' }
import { createCopyGovernor } from './app/copy-governor.ts'
import { createAggregates } from './app/aggregate.ts'
import { createAggregateAdministration } from './app/aggregate-administration.ts'
import { createFlexVolAdministration } from './app/flexvol-administration.ts'
import { createFlexVols } from './app/flexvol.ts'
import { createMigrations } from './app/migration.ts'
import { createMoveAdministration } from './app/move-administration.ts'
import { operationEngine } from './app/operation-engine.ts'
import { createOperations } from './app/operation.ts'
import { createShareAdministration } from './app/share-administration.ts'
import { createStatusReader } from './app/status.ts'
import { createSweeps } from './app/sweep.ts'
import { createUndos } from './app/undo.ts'
import { createVacates } from './app/vacate.ts'
import { aggregatesBackend } from './backends/aggregates.ts'
import { createBlockStorage } from './block-storage.ts'
import { createCompute } from './compute.ts'
import { writeClientFiles } from './config/client-files.ts'
import { loadConfig } from './config/load.ts'
import { openDatabase } from './db/open.ts'
import type { MigrationProgress } from './domain/migration-progress.ts'
import { paceText } from '@volant/contract/ndo/pace.ts'
import { feltClients } from './db/repositories/felt-clients.ts'
import { aggregateContents } from './db/repositories/aggregate-contents.ts'
import { aggregateRecords } from './db/repositories/aggregate.ts'
import { attachmentRecords } from './db/repositories/attachment.ts'
import { copyRecords } from './db/repositories/copy.ts'
import { fencedHeadRecords } from './db/repositories/fenced-head.ts'
import { flexVolMoveRecords } from './db/repositories/flexvol-move.ts'
import { flexVolRecords } from './db/repositories/flexvol.ts'
import { operationStore } from './db/repositories/operation.ts'
import { shareAccessRecords } from './db/repositories/share-access.ts'
import { shareGround } from './db/repositories/share-ground.ts'
import { shareRecords } from './db/repositories/share.ts'
import { snapshotRecords } from './db/repositories/snapshot.ts'
import { sweepRecords } from './db/repositories/sweep.ts'
import { vacatingAggregates } from './db/repositories/vacating.ts'
import { volumeRecords } from './db/repositories/volume.ts'
import { placesOf } from './domain/places.ts'
import { logEngine } from './engine-log.ts'
import { createIdentity } from './http/identity/service.ts'
import { createImages } from './http/image/service.ts'
import { ndoService } from './http/ndo/service.ts'
import { buildServer } from './http/server.ts'
import { attachVolume } from './operations/attach-volume.ts'
import { createAggregate } from './operations/create-aggregate.ts'
import { deleteAggregate } from './operations/delete-aggregate.ts'
import { detachVolume } from './operations/detach-volume.ts'
import { declaredOperations } from './operations/index.ts'
import { revertMigration } from './operations/revert-migration.ts'
import { vacateAggregate } from './operations/vacate-aggregate.ts'
import { systemClock } from './ports/clock.ts'
import { defaultCacheDir, findProbeGuest, registerProbeGuest } from './probe-guest.ts'
import { wakeByParts } from './part-events.ts'
import { every } from './reconcile/every.ts'
import { restoreHeads } from './reconcile/heads.ts'
import { retireSources } from './reconcile/retention.ts'
import { createSweep, sweepEvery } from './reconcile/sweep.ts'
import { ensureAggregates, ensureFlexVols } from './reconcile/topology.ts'
import { openOntapListeners } from './ontap.ts'
import { createMoves } from './moves.ts'
import { openPlaneAgents } from './plane-agents.ts'
import { createShareApi } from './share-api.ts'
import { createShares } from './shares.ts'
import { openStateFolder } from './state-folder.ts'
import { placesInUse } from './db/repositories/places-in-use.ts'
import { requirePlaces } from './domain/topology-in-use.ts'

export interface ControlPlaneOptions {
  stateDir: string
  /** On 127.0.0.1; 0: any free one. */
  port: number
  /** Absent: `STATE/volant.yaml`, or the embedded default. */
  configPath?: string
  log: Logger
  /** Folder in which the set-up built the probe guest. */
  cacheDir?: string
  /** The words that start `volant` here, without its arguments: for agents in processes of their own. */
  command?: readonly [string, ...string[]]
  /** Stands between the operations and what they act on: tests hold the control plane there, to kill it. */
  around?: Around
}

export type Around = <Part extends object>(name: 'agents' | 'records', part: Part) => Part

export interface ControlPlane {
  url: string
  fence: number
  /** Stops serving; guests, heads and copies run on. */
  close(): Promise<void>
}

/** How often retained sources are looked at. Milliseconds. */
const retentionEveryMs = 2000
/** How often heads that are away are started again. Milliseconds. */
const headsEveryMs = 10_000
/** How long ended operations are remembered, and how often the older ones are forgotten. Milliseconds. */
const historyKeptMs = 30 * 24 * 3600 * 1000
const historyEveryMs = 600_000
/** How often what no record owns is looked for, in milliseconds, and how young a thing is left alone, in seconds. */
const sweepEveryMs = 60_000
const sweepGraceSeconds = 30

/** How often claims are looked for that no operation stands behind, and how old they must be. Milliseconds. */
const claimsEveryMs = 60_000
const claimIdleMs = 300_000

type Closing = (() => Promise<unknown> | void)[]

export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const closing: Closing = []
  const close = async (): Promise<void> => {
    for (const part of closing.toReversed()) await part()
  }
  try {
    const state = await openState(options, closing)
    const services = await buildServices(state)
    requireDeclared(services.operations)
    const executor = new Executor({ store: state.store, owner: state.owner, operations: services.operations })
    state.useExecutor(executor)
    logEngine(executor, state.log)
    wakeByParts(executor)
    const listening = Promise.withResolvers<void>()
    await executor.begin(listening.promise)
    closing.push(() => executor.stop())
    await carryOn(state, services, executor, closing)
    const { url, password } = await listen(options, state, services, executor, closing)
    listening.resolve()
    await writeClientFiles({
      stateDir: state.folder.path,
      url,
      password,
      ...services.admin,
      region: 'RegionOne',
    })
    return { url, fence: executor.fence, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** What is carried out is what the state was judged by before it was taken over. */
function requireDeclared(bound: readonly BoundOperation[]): void {
  const registered = bound.map(({ operation }) => operation)
  const wrong = [
    ...registered.filter((operation) => !declaredOperations.includes(operation)),
    ...declaredOperations.filter((operation) => !registered.includes(operation)),
  ]
  if (wrong.length === 0) return
  throw new Error(
    `operations/index.ts and what is registered differ in ${wrong.map(({ kind }) => kind).join()}`,
  )
}

/** An operation under way that this release cannot carry on: it must not take the state over, nor upgrade it. */
function refuseUnknownOperations(unfinished: Unfinished[]): void {
  const { refuse } = planRecovery(unfinished, declaredOperations, new Set())
  if (refuse.length > 0) throw new DomainError('conflict', refusalMessage(refuse), { detail: refuse })
}

/** Everything below the services: folders, configuration, database, agents, records. */
async function openState(options: ControlPlaneOptions, closing: Closing) {
  const { log } = options
  const clock = systemClock
  const startedAt = clock.now().toISOString()
  const folder = openStateFolder(options.stateDir)
  const { topology, settings } = await loadConfig({
    stateDir: folder.path,
    hostname: hostname(),
    file: options.configPath,
  })
  const db = await openDatabase(folder.database, {
    used: existsSync(join(folder.path, 'topology.json')),
    judge: refuseUnknownOperations,
    onBackup: (copy, before) => log.info({ copy, before }, 'the database was copied before its upgrade'),
  })
  closing.push(() => db.destroy())
  const madeAggregates = aggregateRecords(db)
  requirePlaces(topology, await placesInUse(db), await madeAggregates.list())
  // For `volant down --all`, which must find everything even where the configuration file has changed since.
  writeJsonDurably(join(folder.path, 'topology.json'), topology)
  await ensureAggregates(topology, folder.path)
  const probe = await findProbeGuest(options.cacheDir ?? defaultCacheDir)
  const around: Around = options.around ?? ((_name, part) => part)
  const agents = around(
    'agents',
    await openPlaneAgents({ topology, folder, log, probe, command: options.command }),
  )
  closing.push(() => agents.close())
  const places = placesOf(topology)
  const flexvols = flexVolRecords(db)
  const records = around('records', {
    volumes: volumeRecords(db, clock),
    copies: copyRecords(db),
    attachments: attachmentRecords(db),
    flexvols,
    snapshots: snapshotRecords(db),
    moves: flexVolMoveRecords(db),
    shares: shareRecords(db, clock),
    ground: shareGround(db),
  })
  const fencedHeads = fencedHeadRecords(db)
  const backend = aggregatesBackend({ agents, flexvols, fencedHeads, machineOf: places.machineOfNode })
  const store = operationStore(db)
  const owner = `${topology.host}/${process.pid}/${startedAt}`
  // The services need the engine, and the engine the services' operations.
  const late: { executor?: Executor } = {}
  const executorOf = (): Executor => {
    if (late.executor === undefined) throw new Error('the engine is used before it is there')
    return late.executor
  }
  const engine = operationEngine(executorOf, store)
  const aggregates = createAggregates({
    topology,
    agents,
    backend,
    flexvols,
    engine,
    records: madeAggregates,
    contents: aggregateContents(db),
    vacating: vacatingAggregates(db),
  })
  const pace = createCopyGovernor({
    attachments: records.attachments,
    felt: feltClients(db),
    agents,
    settings: settings.copy,
    clock,
    earlier: async (id) => {
      const { progress } = await engine.get(id)
      return (progress as Partial<MigrationProgress> | null)?.pace?.series
    },
    log,
    monotonic: () => performance.now(),
  })
  const moving = { records, backend, agents, aggregates, places, pace, engine, clock, topology, settings }
  return {
    log,
    clock,
    startedAt,
    folder,
    topology,
    settings,
    db,
    probe,
    agents,
    places,
    records,
    madeAggregates,
    backend,
    store,
    owner,
    engine,
    aggregates,
    pace,
    ...createMoves(moving),
    useExecutor: (executor: Executor) => void (late.executor = executor),
  }
}

type State = Awaited<ReturnType<typeof openState>>

/** The services, and the operations that the engine is to know. */
async function buildServices(state: State) {
  const { db, folder, clock, log, records, agents, backend, places, pace, topology, settings, engine } = state
  const identity = await createIdentity({
    db,
    stateDir: folder.path,
    clock,
    log,
    tokenLifetimeSeconds: settings.identity.tokenLifetimeSeconds,
  })
  const access = await identity.bootstrap()
  const { tokens } = identity
  const shared = { db, records, backend, agents, places, pace, topology, clock, log, tokens, engine }
  const images = await createImages({
    ...shared,
    stateDir: folder.path,
    maxImageBytes: settings.images.maxSizeBytes,
  })
  const blockStorage = createBlockStorage({ ...shared, images: images.registry })
  const migrations = buildMigrations(state, (backendName) => blockStorage.isBackendEnabled(backendName))
  const volumes = blockStorage.serve({ ...shared, migrations })
  const compute = createCompute({
    ...shared,
    images: images.registry,
    creator: volumes.creator,
    pools: blockStorage.pools,
    ...settings.compute,
    liveMigration: settings.liveMigration,
    migrations,
  })
  const shares = createShares(shared)
  const shareApi = createShareApi({
    ...shared,
    aggregates: state.aggregates,
    moves: state.flexVolMoves,
    settings: {
      rate: settings.migration.rateBytesPerSecond,
      retentionSeconds: settings.migration.retentionSeconds,
    },
  })
  const headPorts = { ...records, backend, agents, places }
  return {
    identity,
    shareApi,
    shares,
    images,
    blockStorage,
    migrations,
    volumes,
    compute,
    headPorts,
    admin: {
      username: access.userName,
      projectName: access.projectName,
      domainName: access.userDomainName,
    },
    adminPassword: access.password,
    operations: [
      ...state.moveOperations,
      bind(revertMigration, { ...headPorts, engine }),
      bind(attachVolume, headPorts),
      bind(detachVolume, headPorts),
      bind(createAggregate, { agents, aggregates: state.madeAggregates }),
      bind(deleteAggregate, { agents, aggregates: state.madeAggregates }),
      bind(vacateAggregate, { ...vacatePorts(state), engine }),
      ...blockStorage.operations,
      ...shares.operations,
      ...compute.operations,
    ],
  }
}

type Services = Awaited<ReturnType<typeof buildServices>>

function buildMigrations(state: State, isBackendEnabled: (backend: string) => Promise<boolean>) {
  const { migration } = state.settings
  return createMigrations({
    ...state.records,
    backend: state.backend,
    contents: aggregateContents(state.db),
    agents: state.agents,
    engine: state.engine,
    topology: state.topology,
    settings: {
      rate: migration.rateBytesPerSecond,
      cutoverWindowMs: migration.cutoverWindowSeconds * 1000,
      cutoverAttempts: migration.cutoverAttempts,
      retentionSeconds: migration.retentionSeconds,
    },
    isBackendEnabled,
    missingAbilities: state.missingAbilities,
  })
}

/** Brings the world to what the records say: pools, heads, guests, requests that a crash cut short. */
async function carryOn(
  state: State,
  services: Services,
  executor: Executor,
  closing: Closing,
): Promise<void> {
  const { log, clock, records, backend, topology, store, owner, folder } = state
  const caller = { fence: executor.fence }
  const placing = { topology, flexvols: records.flexvols, backend, caller, at: state.startedAt, log }
  let placed = await ensureFlexVols(placing)
  const placeRest = async (): Promise<void> => {
    if (!placed) placed = await ensureFlexVols(placing)
  }
  await services.blockStorage.prepare()
  await services.shareApi.prepare()
  await registerProbeGuest(services.images.registry, state.probe, folder.path, log)
  await services.compute.prepare(caller)
  await services.volumes.recover()
  await services.shares.recover()
  services.compute.start()
  closing.push(() => services.compute.stop())
  closing.push(every(headsEveryMs, placeRest))
  // Not waited for: there may be hundreds, or one whose storage does not answer. Who needs a head makes sure of it.
  const restoring = { ...services.headPorts, engine: state.engine, log }
  const restore = async (stopping: AbortSignal): Promise<unknown> => {
    await state.agents.adopted()
    return await restoreHeads(restoring, caller, stopping)
  }
  closing.push(every(headsEveryMs, restore, { atOnce: true }))
  const serve = async (stopping: AbortSignal): Promise<unknown> => {
    await state.agents.adopted()
    return await services.shares.restore(caller, stopping)
  }
  closing.push(every(headsEveryMs, serve, { atOnce: true }))
  const retiring = { ...records, backend, engine: state.engine, caller, clock, log }
  closing.push(every(claimsEveryMs, () => services.volumes.recover(claimIdleMs)))
  closing.push(every(claimsEveryMs, () => services.shares.recover(claimIdleMs)))
  closing.push(every(retentionEveryMs, () => retireSources(retiring)))
  closing.push(
    every(historyEveryMs, () => {
      const endedBefore = new Date(clock.now().getTime() - historyKeptMs).toISOString()
      return store.deleteEnded({ owner, fence: executor.fence, endedBefore, limit: 1000 })
    }),
  )
}

async function listen(
  options: ControlPlaneOptions,
  state: State,
  services: Services,
  executor: Executor,
  closing: Closing,
): Promise<{ url: string; password: string }> {
  const { identity, images, volumes, compute, migrations } = services
  const undos = createUndos({
    ...state.records,
    executor,
    engine: state.engine,
    migrations,
    backend: state.backend,
    host: state.topology.host,
    retentionSeconds: state.settings.migration.retentionSeconds,
    clock: state.clock,
  })
  const operations = createOperations({
    ...state.records,
    executor,
    undoableUntil: (run) => undos.undoableUntil(run),
    serverName: (serverId) => compute.serverName(serverId),
    serverHosts: (operationId) => compute.serverHosts(operationId),
    pace: paceText(state.settings.copy.pace),
    host: state.topology.host,
  })
  const sweep = createSweep(
    { ...state, ...state.records, owners: sweepRecords(state.db) },
    { fence: executor.fence },
    { graceSeconds: sweepGraceSeconds, historySeconds: historyKeptMs / 1000 },
  )
  closing.push(sweepEvery(sweep, sweepEveryMs, state.log))
  const ontap = await openOntapListeners({
    ...state,
    ...state.records,
    stateDir: state.folder.path,
    version: packageFile.version,
    moves: state.flexVolMoves,
    changes: createFlexVols({ ...state, ...state.records }),
    executor,
  })
  closing.push(() => ontap.close())
  const status = createStatusReader({
    ...state.records,
    version: packageFile.version,
    startedAt: state.startedAt,
    fence: executor.fence,
    topology: state.topology,
    agents: state.agents,
    backend: state.backend,
    madeAggregates: state.madeAggregates,
    countOperations: () => operations.counts(),
    hosts: (principal) => compute.plans.hosts(principal),
    storeTrouble: () => executor.storeTrouble,
    sweep,
    consoleLogPath: (host, serverId) => state.agents.consoleLogPath(host, serverId),
    processes: () => state.agents.processes(),
    managementUrl: (cluster) => ontap.urls.get(cluster) ?? null,
  })
  const sweeps = createSweeps(sweep)
  const storage = storageAdministration(state)
  const ndo = ndoService({
    tokens: identity.tokens,
    operations,
    migrations,
    undos,
    status,
    sweeps,
    storage,
    plans: compute.plans,
  })
  const server = await buildServer({
    log: state.log,
    services: [
      identity.service,
      images.service,
      volumes.service,
      compute.service,
      services.shareApi.service,
      ndo,
    ],
  })
  closing.push(() => server.close())
  const url = await server.listen({ host: '127.0.0.1', port: options.port })
  return { url, password: services.adminPassword }
}

/** Aggregates, FlexVols, moves, vacates and shares, as `/ndo/v1` offers them. */
function storageAdministration(state: State) {
  const { records, engine, backend, topology, flexVolMoves: moves, settings } = state
  const { host } = topology
  const ports = vacatePorts(state)
  return {
    aggregates: createAggregateAdministration(state.aggregates),
    flexvols: createFlexVolAdministration({
      ...records,
      application: createFlexVols({ ...state, ...records }),
      moves,
      backend,
      host,
    }),
    moves: createMoveAdministration({ ...records, moves, records: records.moves, engine, host }),
    vacates: createVacates({ ports, engine, rate: settings.migration.rateBytesPerSecond }),
    shares: createShareAdministration({
      ...records,
      access: shareAccessRecords(state.db, state.clock),
      moves,
      agents: state.agents,
      places: state.places,
      topology,
    }),
  }
}

const vacatePorts = ({ records, backend, aggregates, flexVolMoves }: State) => ({
  flexvols: records.flexvols,
  backend,
  aggregates,
  moves: flexVolMoves,
})
