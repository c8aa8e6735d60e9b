/** What `/ndo/v1` offers: a part of the composition root. */
import { paceText } from '@volant/contract/ndo/pace.ts'
import type { Executor } from '@volant/saga'
import packageFile from '../../../package.json' with { type: 'json' }
import { createAggregateAdministration } from './app/aggregate-administration.ts'
import { createFlexVolAdministration } from './app/flexvol-administration.ts'
import { createFlexVols } from './app/flexvol.ts'
import type { Migrations } from './app/migration.ts'
import { createMoveAdministration } from './app/move-administration.ts'
import { createOperations } from './app/operation.ts'
import { createShareAdministration } from './app/share-administration.ts'
import { createStatusReader } from './app/status.ts'
import { createSweeps } from './app/sweep.ts'
import { createUndos } from './app/undo.ts'
import { createVacates } from './app/vacate.ts'
import type { Compute } from './compute.ts'
import { shareAccessRecords } from './db/repositories/share-access.ts'
import type { TokenVerifier } from './http/authenticate.ts'
import { ndoService } from './http/ndo/service.ts'
import type { PlaneState } from './plane-state.ts'
import type { Sweep } from './ports/sweep.ts'

export interface AdministrationParts {
  state: PlaneState
  identity: { tokens: TokenVerifier }
  migrations: Migrations
  compute: Pick<Compute, 'serverName' | 'serverHosts' | 'plans'>
  executor: Executor
  sweep: Sweep
  /** Where a cluster answers ONTAP's API; null: nowhere. */
  managementUrl: (cluster: string) => string | null
}

export function createAdministration(parts: AdministrationParts) {
  const { state, identity, migrations, compute, executor, sweep, managementUrl } = parts
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
    managementUrl,
  })
  return ndoService({
    tokens: identity.tokens,
    operations,
    migrations,
    undos,
    status,
    sweeps: createSweeps(sweep),
    storage: storageAdministration(state),
    plans: compute.plans,
  })
}

/** Aggregates, FlexVols, moves, vacates and shares, as `/ndo/v1` offers them. */
function storageAdministration(state: PlaneState) {
  const { records, engine, backend, topology, flexVolMoves: moves, settings } = state
  const { host } = topology
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
    vacates: createVacates({ ports: state.vacates, engine, rate: settings.migration.rateBytesPerSecond }),
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
