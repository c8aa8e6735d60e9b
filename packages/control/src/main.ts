/**
 * The composition root: with its parts, the only place that constructs things. It opens the state, builds the services
 * and the operations, takes the state over, and listens. Of what an earlier control plane had under way it carries on at
 * once what cannot wait, such as a cutover; the rest when it listens.
 */
import { bind, Executor, type BoundOperation } from '@volant/saga'
import packageFile from '../../../package.json' with { type: 'json' }
import { createFlexVols } from './app/flexvol.ts'
import { createMigrations } from './app/migration.ts'
import { createBlockStorage } from './block-storage.ts'
import { createCompute } from './compute.ts'
import { writeClientFiles } from './config/client-files.ts'
import { aggregateContents } from './db/repositories/aggregate-contents.ts'
import { sweepRecords } from './db/repositories/sweep.ts'
import { logEngine } from './engine-log.ts'
import { createIdentity } from './http/identity/service.ts'
import { createImages } from './http/image/service.ts'
import { buildServer } from './http/server.ts'
import { attachVolume } from './operations/attach-volume.ts'
import { createAggregate } from './operations/create-aggregate.ts'
import { deleteAggregate } from './operations/delete-aggregate.ts'
import { detachVolume } from './operations/detach-volume.ts'
import { declaredOperations } from './operations/index.ts'
import { revertMigration } from './operations/revert-migration.ts'
import { vacateAggregate } from './operations/vacate-aggregate.ts'
import { registerProbeGuest } from './probe-guest.ts'
import { wakeByParts } from './part-events.ts'
import { every } from './reconcile/every.ts'
import { restoreHeads } from './reconcile/heads.ts'
import { retireSources } from './reconcile/retention.ts'
import { createSweep, sweepEvery } from './reconcile/sweep.ts'
import { ensureFlexVols } from './reconcile/topology.ts'
import { openOntapListeners } from './ontap.ts'
import { createShareApi } from './share-api.ts'
import { createShares } from './shares.ts'
import { createAdministration } from './administration.ts'
import { openPlaneState, type Closing, type PlaneState, type PlaneStateOptions } from './plane-state.ts'

export interface ControlPlaneOptions extends PlaneStateOptions {
  /** On 127.0.0.1; 0: any free one. */
  port: number
}

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

export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const closing: Closing = []
  const close = async (): Promise<void> => {
    for (const part of closing.toReversed()) await part()
  }
  try {
    const state = await openPlaneState(options, closing)
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

/** The services, and the operations that the engine is to know. */
async function buildServices(state: PlaneState) {
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
      bind(vacateAggregate, { ...state.vacates, engine }),
      ...blockStorage.operations,
      ...shares.operations,
      ...compute.operations,
    ],
  }
}

type Services = Awaited<ReturnType<typeof buildServices>>

function buildMigrations(state: PlaneState, isBackendEnabled: (backend: string) => Promise<boolean>) {
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
  state: PlaneState,
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
  state: PlaneState,
  services: Services,
  executor: Executor,
  closing: Closing,
): Promise<{ url: string; password: string }> {
  const { identity, images, volumes, compute, migrations } = services
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
  const server = await buildServer({
    log: state.log,
    services: [
      identity.service,
      images.service,
      volumes.service,
      compute.service,
      services.shareApi.service,
      createAdministration({
        state,
        identity,
        migrations,
        compute,
        executor,
        sweep,
        managementUrl: (cluster) => ontap.urls.get(cluster) ?? null,
      }),
    ],
  })
  closing.push(() => server.close())
  const url = await server.listen({ host: '127.0.0.1', port: options.port })
  return { url, password: services.adminPassword }
}
