import {
  isSettled,
  type Aggregate,
  type AggregateList,
  type AggregateRequest,
  type ComputeHostList,
  type ComputeHostState,
  type FlexVol,
  type FlexVolDocument,
  type FlexVolList,
  type FlexVolRequest,
  type HostPlan,
  type MigrationPlan,
  type MigrationPlanned,
  type MigrationRequest,
  type MigrationStarted,
  type Move,
  type MoveChange,
  type MoveDocument,
  type MoveList,
  type MoveListQuery,
  type MovePlan,
  type MovePlanned,
  type MoveRequest,
  type Operation,
  type OperationDocument,
  type OperationList,
  type OperationListQuery,
  type HistoryPage,
  type OperationRecord,
  type PaceWishes,
  type PlanList,
  type PlanPlanned,
  type PlanRequest,
  type PlanStarted,
  type Share,
  type ShareDetail,
  type ShareList,
  type SweepReport,
  type SystemStatus,
  type SystemStatusDocument,
  type UndoPlan,
  type UndoPlanned,
  type UndoStarted,
  type VacatePlan,
  type VacatePlanned,
  type VacateRequest,
  type VacateStarted,
  type VolumePlacement,
  type VolumePlacementDocument,
} from '@volant/contract/ndo/index.ts'
import { ApiError } from './api-error.ts'
import { serverSentEvents } from './server-sent-events.ts'
import type { Session } from './session.ts'

export type MigrationWish = Omit<MigrationRequest, 'dry_run'>
export type MoveWish = Omit<MoveRequest, 'dry_run'>
export type VacateWish = Omit<VacateRequest, 'dry_run'>
export type PlanWish = Omit<PlanRequest, 'dry_run'>
export type MoveControl = 'trigger' | 'hold' | 'pause' | 'resume' | 'cancel'

/** `/ndo/v1`. */
export interface NdoClient {
  status(): Promise<SystemStatus>
  operations(query?: OperationListQuery): Promise<OperationList>
  operation(id: string): Promise<Operation>
  pause(id: string): Promise<Operation>
  resume(id: string): Promise<Operation>
  cancel(id: string): Promise<Operation>
  /** Leaves out the step that needs attention; 409 where that is not safe. */
  skip(id: string): Promise<Operation>
  /** Says whether the commit was made, where Volant cannot find out. */
  decide(id: string, happened: boolean): Promise<Operation>
  /** Bytes per second; 0 is unlimited. */
  setRate(id: string, bytesPerSecond: number): Promise<Operation>
  /** What its copies hold to (`2x`, `5ms`, `50M`, `full`), or its priority, or both. */
  setPace(id: string, wishes: PaceWishes): Promise<Operation>
  /**
   * The operation at once and after each change, until it is settled. Outlives restarts of the control plane:
   * where the stream breaks it begins again, for `patienceMs` (default 60,000) without an answer at most.
   */
  watch(id: string, options?: { signal?: AbortSignal; patienceMs?: number }): AsyncGenerator<Operation>
  migrate(wish: MigrationWish): Promise<Operation>
  planMigration(wish: MigrationWish): Promise<MigrationPlan>
  /** Takes an operation back; the plan says in which way, and why. */
  /** `wishes` where the volume migrates back. */
  undo(id: string, wishes?: PaceWishes): Promise<UndoStarted>
  /** What `undo` would do; changes nothing. */
  planUndo(id: string): Promise<UndoPlan>
  placement(volumeId: string): Promise<VolumePlacement>
  /** All that is on record of an operation. */
  history(id: string): Promise<OperationRecord>
  /** Of all operations, newest first, page by page; `since`: only what something was recorded of since then. */
  histories(since?: string): AsyncGenerator<OperationRecord>
  /** One pass of the sweep now. */
  sweep(options?: { dryRun?: boolean; graceSeconds?: number }): Promise<SweepReport>
  aggregates(): Promise<Aggregate[]>
  createAggregate(aggregate: AggregateRequest): Promise<Operation>
  removeAggregate(cluster: string, name: string): Promise<Operation>
  flexvols(): Promise<FlexVol[]>
  createFlexVol(flexvol: FlexVolRequest): Promise<Operation>
  /** Bytes; null: as much as its aggregate has. */
  resizeFlexVol(id: string, sizeBytes: number | null): Promise<FlexVol>
  removeFlexVol(id: string): Promise<Operation>
  planMove(wish: MoveWish): Promise<MovePlan>
  /** The operation's id is the move's. */
  move(wish: MoveWish): Promise<Operation>
  /** Newest first. */
  moves(query?: MoveListQuery): Promise<Move[]>
  /** A move with its images. */
  movement(moveId: string): Promise<MoveDocument>
  modifyMove(moveId: string, change: MoveChange): Promise<Move>
  /** 409 where the move has ended. */
  controlMove(moveId: string, control: MoveControl): Promise<Move>
  planVacate(wish: VacateWish): Promise<VacatePlan>
  vacate(wish: VacateWish): Promise<VacateStarted>
  /** Compute hosts, with what is under way with them. */
  hosts(): Promise<ComputeHostState[]>
  /** Who would go where when a compute host is drained, or restored; changes nothing. */
  planHost(wish: PlanWish): Promise<HostPlan>
  startPlan(wish: PlanWish): Promise<PlanStarted>
  /** The last ones, newest first. */
  plans(): Promise<Operation[]>
  /** Of all projects, oldest first. */
  shares(): Promise<Share[]>
  share(id: string): Promise<ShareDetail>
}

const retryMs = 1000
/** The server sends at least a comment each 15 s. */
const silenceMs = 45_000

const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal?.addEventListener('abort', () => {
      clearTimeout(timer)
      resolve()
    })
  })

/** Ends a body that has been silent for too long. */
async function* unlessSilent(body: AsyncIterable<Uint8Array>, stop: () => void): AsyncGenerator<Uint8Array> {
  let timer = setTimeout(stop, silenceMs)
  try {
    for await (const chunk of body) {
      clearTimeout(timer)
      timer = setTimeout(stop, silenceMs)
      yield chunk
    }
  } finally {
    clearTimeout(timer)
  }
}

async function* stream(session: Session, id: string, signal?: AbortSignal): AsyncGenerator<Operation> {
  const own = new AbortController()
  const both = signal === undefined ? own.signal : AbortSignal.any([own.signal, signal])
  try {
    const response = await session.raw('GET', `/ndo/v1/operations/${encodeURIComponent(id)}/events`, {
      headers: { accept: 'text/event-stream' },
      signal: both,
    })
    if (response.body === null) return
    const body = unlessSilent(response.body as AsyncIterable<Uint8Array>, () => own.abort())
    for await (const { event, data } of serverSentEvents(body)) {
      if (event !== 'progress' && event !== 'end') continue
      yield JSON.parse(data) as Operation
      if (event === 'end') return
    }
  } finally {
    own.abort()
  }
}

async function* watch(
  session: Session,
  id: string,
  options: { signal?: AbortSignal; patienceMs?: number } = {},
): AsyncGenerator<Operation> {
  const { signal, patienceMs = 60_000 } = options
  const stopped = (): boolean => signal?.aborted === true
  let lastHeard = Date.now()
  while (!stopped()) {
    try {
      for await (const operation of stream(session, id, signal)) {
        lastHeard = Date.now()
        yield operation
        if (isSettled(operation.state)) return
      }
    } catch (error) {
      if (stopped()) return
      const fatal = error instanceof ApiError && error.status >= 400 && error.status < 500
      if (fatal || Date.now() - lastHeard > patienceMs) throw error
    }
    await pause(retryMs, signal)
  }
}

async function* histories(session: Session, since?: string): AsyncGenerator<OperationRecord> {
  for (let marker: string | null = null; ;) {
    const query = { ...(since === undefined ? {} : { since }), ...(marker === null ? {} : { marker }) }
    const page = (await session.json('GET', '/ndo/v1/history', { query })) as HistoryPage
    yield* page.records
    if (page.next_marker === null) return
    marker = page.next_marker
  }
}

const at = (id: string, rest = ''): string => `/ndo/v1/operations/${encodeURIComponent(id)}${rest}`

/** Aggregates, FlexVols, moves, vacates, shares. */
function storageClient(session: Session): StorageCalls {
  const get = (path: string, query = {}): Promise<unknown> => session.json('GET', `/ndo/v1${path}`, { query })
  const post = (path: string, body?: unknown): Promise<unknown> =>
    session.json('POST', `/ndo/v1${path}`, body === undefined ? {} : { body })
  const moveAt = (id: string, rest = ''): string => `/moves/${encodeURIComponent(id)}${rest}`
  const one = encodeURIComponent
  return {
    aggregates: async () => ((await get('/aggregates')) as AggregateList).aggregates,
    createAggregate: async (wish) => ((await post('/aggregates', wish)) as OperationDocument).operation,
    removeAggregate: async (cluster, name) => {
      const answer = await session.json('DELETE', `/ndo/v1/aggregates/${one(cluster)}/${one(name)}`)
      return (answer as OperationDocument).operation
    },
    flexvols: async () => ((await get('/flexvols')) as FlexVolList).flexvols,
    createFlexVol: async (wish) => ((await post('/flexvols', wish)) as OperationDocument).operation,
    resizeFlexVol: async (id, sizeBytes) => {
      const answer = await post(`/flexvols/${one(id)}/resize`, { size_bytes: sizeBytes })
      return (answer as FlexVolDocument).flexvol
    },
    removeFlexVol: async (id) =>
      ((await session.json('DELETE', `/ndo/v1/flexvols/${one(id)}`)) as OperationDocument).operation,
    planMove: async (wish) => ((await post('/moves', { ...wish, dry_run: true })) as MovePlanned).plan,
    move: async (wish) => ((await post('/moves', wish)) as OperationDocument).operation,
    moves: async (query = {}) => ((await get('/moves', { ...query })) as MoveList).moves,
    movement: async (id) => (await get(moveAt(id))) as MoveDocument,
    modifyMove: async (id, change) => ((await post(moveAt(id, '/modify'), change)) as MoveDocument).move,
    controlMove: async (id, control) => ((await post(moveAt(id, `/${control}`))) as MoveDocument).move,
    planVacate: async (wish) => ((await post('/vacates', { ...wish, dry_run: true })) as VacatePlanned).plan,
    vacate: async (wish) => (await post('/vacates', wish)) as VacateStarted,
    hosts: async () => ((await get('/hosts')) as ComputeHostList).hosts,
    planHost: async (wish) => ((await post('/plans', { ...wish, dry_run: true })) as PlanPlanned).plan,
    startPlan: async (wish) => (await post('/plans', wish)) as PlanStarted,
    plans: async () => ((await get('/plans')) as PlanList).plans,
    shares: async () => ((await get('/shares')) as ShareList).shares,
    share: async (id) => (await get(`/shares/${one(id)}`)) as ShareDetail,
  }
}

type StorageCalls = Pick<
  NdoClient,
  | 'aggregates'
  | 'createAggregate'
  | 'removeAggregate'
  | 'flexvols'
  | 'createFlexVol'
  | 'resizeFlexVol'
  | 'removeFlexVol'
  | 'planMove'
  | 'move'
  | 'moves'
  | 'movement'
  | 'modifyMove'
  | 'controlMove'
  | 'planVacate'
  | 'vacate'
  | 'hosts'
  | 'planHost'
  | 'startPlan'
  | 'plans'
  | 'shares'
  | 'share'
>

export function ndoClient(session: Session): NdoClient {
  const operationOf = async (method: string, path: string, body?: unknown): Promise<Operation> => {
    const answer = await session.json(method, path, body === undefined ? {} : { body })
    return (answer as OperationDocument).operation
  }
  return {
    status: async () => ((await session.json('GET', '/ndo/v1/status')) as SystemStatusDocument).status,
    operations: async (query = {}) =>
      (await session.json('GET', '/ndo/v1/operations', { query: { ...query } })) as OperationList,
    operation: (id) => operationOf('GET', at(id)),
    pause: (id) => operationOf('POST', at(id, '/pause')),
    resume: (id) => operationOf('POST', at(id, '/resume')),
    cancel: (id) => operationOf('POST', at(id, '/cancel')),
    skip: (id) => operationOf('POST', at(id, '/skip')),
    decide: (id, happened) => operationOf('POST', at(id, '/decide'), { happened }),
    setRate: (id, bytesPerSecond) =>
      operationOf('PUT', at(id, '/rate'), { bytes_per_second: bytesPerSecond }),
    setPace: (id, wishes) => operationOf('PUT', at(id, '/pace'), { ...wishes }),
    watch: (id, options) => watch(session, id, options),
    migrate: async (wish) =>
      ((await session.json('POST', '/ndo/v1/migrations', { body: wish })) as MigrationStarted).operation,
    sweep: async ({ dryRun = false, graceSeconds } = {}) => {
      const body = { dry_run: dryRun, ...(graceSeconds === undefined ? {} : { grace_seconds: graceSeconds }) }
      return ((await session.json('POST', '/ndo/v1/sweep', { body })) as { sweep: SweepReport }).sweep
    },
    planMigration: async (wish) =>
      (
        (await session.json('POST', '/ndo/v1/migrations', {
          body: { ...wish, dry_run: true },
        })) as MigrationPlanned
      ).plan,
    undo: async (id, wishes = {}) =>
      (await session.json('POST', at(id, '/undo'), { body: { ...wishes } })) as UndoStarted,
    planUndo: async (id) =>
      ((await session.json('POST', at(id, '/undo'), { body: { dry_run: true } })) as UndoPlanned).plan,
    ...storageClient(session),
    history: async (id) => (await session.json('GET', at(id, '/history'))) as OperationRecord,
    histories: (since) => histories(session, since),
    placement: async (volumeId) =>
      (
        (await session.json(
          'GET',
          `/ndo/v1/volumes/${encodeURIComponent(volumeId)}/placement`,
        )) as VolumePlacementDocument
      ).placement,
  }
}
