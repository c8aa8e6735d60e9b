/** Everything below the services: a part of the composition root. */
import { existsSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { DomainError } from '@volant/contract'
import { writeJsonDurably } from '@volant/qemu'
import { planRecovery, refusalMessage, type Executor, type Unfinished } from '@volant/saga'
import type { Logger } from 'pino'
import { createCopyGovernor } from './app/copy-governor.ts'
import { createAggregates } from './app/aggregate.ts'
import { operationEngine } from './app/operation-engine.ts'
import { aggregatesBackend } from './backends/aggregates.ts'
import { loadConfig } from './config/load.ts'
import { openDatabase } from './db/open.ts'
import type { MigrationProgress } from './domain/migration-progress.ts'
import { feltClients } from './db/repositories/felt-clients.ts'
import { aggregateContents } from './db/repositories/aggregate-contents.ts'
import { aggregateRecords } from './db/repositories/aggregate.ts'
import { fencedHeadRecords } from './db/repositories/fenced-head.ts'
import { storageRecords } from './db/repositories/storage-records.ts'
import { operationStore } from './db/repositories/operation.ts'
import { vacatingAggregates } from './db/repositories/vacating.ts'
import { placesOf } from './domain/places.ts'
import { declaredOperations } from './operations/index.ts'
import { systemClock } from './ports/clock.ts'
import { defaultCacheDir, findProbeGuest } from './probe-guest.ts'
import { ensureAggregates } from './reconcile/topology.ts'
import { createMoves } from './moves.ts'
import { openPlaneAgents } from './plane-agents.ts'
import { openStateFolder } from './state-folder.ts'
import { placesInUse } from './db/repositories/places-in-use.ts'
import { requirePlaces } from './domain/topology-in-use.ts'

export interface PlaneStateOptions {
  stateDir: string
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

/** What ends the parts that were opened, in the order of their opening. */
export type Closing = (() => Promise<unknown> | void)[]

/** An operation under way that this release cannot carry on: it must not take the state over, nor upgrade it. */
function refuseUnknownOperations(unfinished: Unfinished[]): void {
  const { refuse } = planRecovery(unfinished, declaredOperations, new Set())
  if (refuse.length > 0) throw new DomainError('conflict', refusalMessage(refuse), { detail: refuse })
}

/**
 * Folders, configuration, database, agents, records, the engine that the services are given, moves. What must be ended is
 * put into `closing`. One long function: each part is made of those before it.
 */
export async function openPlaneState(options: PlaneStateOptions, closing: Closing) {
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
  const plain = storageRecords(db, clock)
  const { flexvols } = plain
  const records = around('records', plain)
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
  const moves = createMoves(moving)
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
    ...moves,
    vacates: { flexvols: records.flexvols, backend, aggregates, moves: moves.flexVolMoves },
    useExecutor: (executor: Executor) => void (late.executor = executor),
  }
}

export type PlaneState = Awaited<ReturnType<typeof openPlaneState>>
