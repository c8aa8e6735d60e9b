import type { Operation, OperationProgress, OperationState } from '@volant/contract/ndo/operation.ts'
import type { LogEntry, RunRecord, RunState, Wish } from '@volant/saga'
import { aggregateId } from './aggregate-name.ts'
import { countsOf as serverCounts, type HostProgress } from './host-progress.ts'
import type { FlexVolMoveProgress } from './flexvol-move.ts'
import type { LiveMigrationProgress } from './live-migration.ts'
import type { MigrationProgress } from './migration-progress.ts'
import type { PaceView } from './pace-view.ts'
import { moveOf } from './undo.ts'
import type { VacateProgress } from './vacate-progress.ts'

/** What is shown beside what the run's record holds. */
export interface OperationNames {
  resourceName: string | null
  /** Host strings; of a move `AGGREGATE@NODE`. */
  source: string | null
  target: string | null
  /** How many parts it has. */
  parts: number
  /** Until when it can be undone after its end. */
  undoUntil: string | null
  /** The configured one, which holds where no other was asked for: `2x`. */
  pace: string
}

/** What may be asked of the run now, and why the step that needs attention may be skipped. */
export interface Possible {
  wishes: readonly Wish[]
  skip: string | null
}

const states: Record<RunState, OperationState> = {
  pending: 'running',
  running: 'running',
  waiting: 'running',
  paused: 'paused',
  cancelling: 'cancelling',
  unwinding: 'running',
  succeeded: 'succeeded',
  failed: 'failed',
  cancelled: 'cancelled',
  'needs-attention': 'needs-attention',
}

/** The state that users are shown. */
export const operationState = (state: RunState): OperationState => states[state]

/** The thing an operation works on, from its input's id. */
export function resourceOf(run: RunRecord): { type: string; id: string } {
  const input = run.input as Record<string, unknown>
  const type = run.kind.split('.')[0] ?? 'operation'
  if (type === 'aggregate') return aggregateOf(input, run.id)
  if (type === 'host' && typeof input['host'] === 'string') return { type, id: input['host'] }
  // An image at rest is a snapshot's, or a detached volume's.
  const of = type === 'image' ? (typeof input['snapshotId'] === 'string' ? 'snapshot' : 'volume') : type
  const id = input[`${of}Id`]
  return { type: of, id: typeof id === 'string' ? id : run.id }
}

/** Names of aggregates are unique in their cluster only; a whole node is emptied under the node's name. */
function aggregateOf(input: Record<string, unknown>, runId: string): { type: string; id: string } {
  const { cluster, name, node, whole } = input
  if (typeof cluster !== 'string') return { type: 'aggregate', id: runId }
  if (whole === true && typeof node === 'string') return { type: 'node', id: node }
  return { type: 'aggregate', id: typeof name === 'string' ? aggregateId(cluster, name) : runId }
}

type Progress =
  | LiveMigrationProgress
  | MigrationProgress
  | FlexVolMoveProgress
  | VacateProgress
  | HostProgress

/** A run and its log, as `/ndo/v1/operations` shows them. */
export function operationView(
  run: RunRecord,
  log: LogEntry[],
  names: OperationNames,
  possible: Possible,
): Operation {
  const progress = run.progress as Progress | null
  const { undoOf } = moveOf(run)
  return {
    id: run.id,
    kind: run.kind,
    state: states[run.state],
    step: run.step,
    phase: phaseOf(run, progress),
    resource: { ...resourceOf(run), name: names.resourceName },
    parent: run.parentId,
    parts: names.parts,
    source: names.source,
    target: names.target,
    progress: progressView(run, progress, movedBytesOf(log)),
    controls: {
      paused: run.control.paused,
      rate_limit: run.control.rate ?? 0,
      pace: run.control.pace ?? names.pace,
      priority: run.control.priority ?? 'normal',
    },
    client_pause_ms: pauseOf(log, 'pauseMs') ?? longestPauseOf(progress),
    client_pause_bound_ms: pauseOf(log, 'pauseBoundMs'),
    attempts: log
      .filter(
        (entry) =>
          entry.failure !== undefined &&
          entry.failure.class !== 'postponed' &&
          (entry.event === 'failed' || entry.event === 'undo-failed'),
      )
      .map((entry) => ({ at: entry.at, reason: `${entry.step ?? ''}: ${entry.failure?.message ?? ''}` })),
    error:
      run.failure === null
        ? null
        : {
            reason: `${run.failure.step}: ${run.failure.message}`,
            class: run.failure.code ?? run.failure.class,
          },
    undo_of: undoOf === undefined ? null : { operation: undoOf.operationId, reason: undoOf.reason },
    undo_until: names.undoUntil,
    attention: attentionOf(run, possible),
    created_at: run.createdAt,
    updated_at: run.updatedAt,
    finished_at: run.endedAt,
    commands: [...cutoverCommands(run, progress), ...commandsFor(run, possible, names.undoUntil)],
  }
}

function phaseOf(run: RunRecord, progress: Progress | null): string | null {
  if (run.state === 'unwinding' || run.state === 'cancelling') return 'undoing'
  if (run.step === 'cutover') return 'completing'
  if (run.step === 'switchover') return 'switchover'
  if (run.step === 'inSync' || run.step === 'copied') return progress?.phase ?? 'copying'
  return run.endedAt === null && (isOfMany(progress) || isOfHost(progress)) ? progress.phase : null
}

/** Of many images: a FlexVol's move, or many of those. */
const isOfMany = (progress: Progress | null): progress is FlexVolMoveProgress | VacateProgress =>
  progress !== null && typeof progress === 'object' && 'images' in progress

/** Of the servers of a compute host. */
const isOfHost = (progress: Progress | null): progress is HostProgress =>
  progress !== null && typeof progress === 'object' && 'servers' in progress

/** Each server counts alike: many of them copy no bytes. */
function percentOfServers({ servers }: HostProgress): number {
  const shares = servers.map(({ fate, doneBytes, totalBytes }) => {
    if (fate === 'moving') return totalBytes === 0 ? 0 : Math.min(1, doneBytes / totalBytes)
    return fate === 'waiting' || fate === 'stays' ? 0 : 1
  })
  const sum = shares.reduce<number>((all, share) => all + share, 0)
  return shares.length === 0 ? 0 : Math.floor((sum / shares.length) * 1000) / 10
}

function serversView({ servers, note }: HostProgress): NonNullable<OperationProgress['servers']> {
  return {
    ...serverCounts(servers),
    note,
    list: servers.map(({ id, name, fate, way, from, to, doneBytes, totalBytes, reason, against }) => ({
      id,
      name,
      state: fate,
      way,
      from,
      to,
      done_bytes: doneBytes,
      total_bytes: totalBytes,
      reason,
      retry_at: fate === 'waiting' && against !== null ? against.next : null,
    })),
  }
}

/** The longest that any client was held by an operation on many images. */
const longestPauseOf = (progress: Progress | null): number | null =>
  isOfMany(progress) && progress.longestPauseMs !== null
    ? Math.round(progress.longestPauseMs * 100) / 100
    : null

const noMeasure: OperationProgress = {
  percent: null,
  done_bytes: null,
  total_bytes: null,
  dirty_bytes: null,
  rate_bytes_per_second: null,
  eta_seconds: null,
  client_limit_bytes_per_second: null,
  pace: null,
  images: null,
  flexvols: null,
  servers: null,
}

function progressView(
  run: RunRecord,
  progress: Progress | null,
  movedBytes: number | null,
): OperationProgress {
  const succeeded = run.state === 'succeeded'
  if (progress === null || typeof progress !== 'object' || typeof progress.doneBytes !== 'number') {
    return { ...noMeasure, percent: succeeded ? 100 : null }
  }
  const nothing = progress.phase === 'bringing-back' ? 0 : 100
  const share = progress.totalBytes === 0 ? nothing : (progress.doneBytes / progress.totalBytes) * 100
  const ended = run.endedAt !== null
  const measures = {
    ...noMeasure,
    percent: succeeded ? 100 : Math.min(99.9, Math.floor(share * 10) / 10),
    done_bytes: movedBytes ?? progress.doneBytes,
    total_bytes: movedBytes ?? progress.totalBytes,
    rate_bytes_per_second: ended ? averageBps(run, movedBytes ?? progress.doneBytes) : progress.rateBps,
    eta_seconds: ended ? 0 : run.state === 'paused' ? null : progress.etaSeconds,
  }
  if (isOfMany(progress)) return { ...measures, ...countsOf(progress) }
  if ('throttlePercent' in progress) {
    const done = succeeded ? { done_bytes: progress.totalBytes } : {}
    return { ...measures, ...done, dirty_bytes: ended ? null : progress.leftBytes }
  }
  if (isOfHost(progress)) {
    const percent = succeeded ? 100 : Math.min(99.9, percentOfServers(progress))
    return { ...measures, percent, servers: serversView(progress) }
  }
  const catchingUp = progress.phase === 'in-sync' || progress.phase === 'catching-up'
  return {
    ...measures,
    dirty_bytes: catchingUp ? progress.leftBytes : null,
    client_limit_bytes_per_second: progress.clientLimitBps ?? null,
    pace: progress.pace === undefined ? null : paceOf(progress.pace),
  }
}

/** Without its history: that is in the operation's record. */
function paceOf(pace: PaceView): NonNullable<OperationProgress['pace']> {
  return {
    policy: pace.policy,
    priority: pace.priority,
    limit_bytes_per_second: pace.limitBps,
    limited_by: pace.limitedBy,
    p99_ms: hundredths(pace.p99Ms),
    bound_ms: hundredths(pace.boundMs),
    baseline_ms: hundredths(pace.baselineMs),
    reason: pace.reason,
  }
}

const hundredths = (ms: number | null): number | null => (ms === null ? null : Math.round(ms * 100) / 100)

function countsOf(
  progress: FlexVolMoveProgress | VacateProgress,
): Pick<OperationProgress, 'images' | 'flexvols'> {
  const { inSync, ...images } = progress.images
  return {
    images: { ...images, in_sync: inSync },
    flexvols: 'flexvols' in progress ? progress.flexvols : null,
  }
}

/** Over the whole operation: what an ended one is remembered by. */
function averageBps(run: RunRecord, bytes: number): number {
  const seconds = (Date.parse(run.endedAt ?? run.updatedAt) - Date.parse(run.createdAt)) / 1000
  return seconds > 0 ? Math.round(bytes / seconds) : 0
}

function pauseOf(log: LogEntry[], measure: 'pauseMs' | 'pauseBoundMs'): number | null {
  const isCutover = ({ step }: LogEntry): boolean => step === 'cutover' || step === 'switchover'
  const cutover = log.findLast((entry) => isCutover(entry) && entry.event === 'done')
  const output = cutover?.output as Record<string, unknown> | null | undefined
  const ms = output?.[measure]
  return typeof ms === 'number' ? Math.round(ms * 100) / 100 : null
}

/** Once the cutover is over, what the target occupies is known: a mirror's own figures count holes as well. */
function movedBytesOf(log: LogEntry[]): number | null {
  const settled = log.findLast((entry) => entry.step === 'settle' && entry.event === 'done')
  const output = settled?.output as { movedBytes?: unknown } | null | undefined
  return typeof output?.movedBytes === 'number' ? output.movedBytes : null
}

function attentionOf(run: RunRecord, possible: Possible): Operation['attention'] {
  if (run.state !== 'needs-attention' || run.failure === null) return null
  return {
    step: run.step ?? run.failure.step,
    reason: run.failure.message,
    skip: possible.skip,
    decide: possible.wishes.includes('decide'),
  }
}

/** In the order in which they are tried. A rate has a value, which nobody can guess. */
const commandsOf: [Wish, ...string[]][] = [
  ['pause', 'pause ID'],
  ['resume', 'resume ID'],
  ['skip', 'skip ID'],
  ['decide', 'decide ID --happened yes', 'decide ID --happened no'],
  ['cancel', 'cancel ID'],
]

/** What is all in sync and waits for its cutovers to be let through waits for these words. */
function cutoverCommands(run: RunRecord, progress: Progress | null): string[] {
  if (run.state === 'needs-attention' || phaseOf(run, progress) !== 'cutover_pending') return []
  const { type, id } = resourceOf(run)
  return type === 'share' ? [`manila migration-complete ${id}`] : [`volant move cutover ${id}`]
}

function commandsFor(run: RunRecord, { wishes }: Possible, undoUntil: string | null): string[] {
  if (run.endedAt !== null) {
    return undoUntil === null ? [] : [`volant undo ${run.id}  # possible until ${undoUntil.slice(0, 19)}Z`]
  }
  const wished = commandsOf.flatMap(([wish, ...commands]) => (wishes.includes(wish) ? commands : []))
  const first = run.state === 'needs-attention' ? 'show ID' : 'watch ID'
  return [first, ...wished].map((command) => `volant operations ${command.replace('ID', run.id)}`)
}
