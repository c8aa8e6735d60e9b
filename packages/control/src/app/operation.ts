import type {
  Operation,
  OperationList,
  OperationListQuery,
  PaceWishes,
} from '@volant/contract/ndo/operation.ts'
import type { HistoryPage, HistoryQuery, OperationRecord } from '@volant/contract/ndo/history.ts'
import { DomainError } from '@volant/contract'
import type { Executor, RunRecord, RunState } from '@volant/saga'
import { placeText } from '../domain/aggregate-name.ts'
import { hostStringOf } from '../domain/migration.ts'
import { operationRecord } from '../domain/operation-record.ts'
import {
  operationState,
  operationView,
  resourceOf,
  type OperationNames,
  type Possible,
} from '../domain/operation-view.ts'
import { paceWishes } from '@volant/contract/ndo/pace.ts'
import { enforce } from '../domain/policy.ts'
import { isPausable, requirePausable } from '../domain/unpausable.ts'
import type { Principal } from '../domain/principal.ts'
import type { FlexVolMoveRecords, FlexVolRecords, SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import type { ShareRecords } from '../ports/shares.ts'

/** Operations for administrators: look, watch, and steer. */
export interface Operations {
  list(principal: Principal, query: OperationListQuery): Promise<OperationList>
  show(principal: Principal, id: string): Promise<Operation>
  pause(principal: Principal, id: string): Promise<Operation>
  resume(principal: Principal, id: string): Promise<Operation>
  cancel(principal: Principal, id: string): Promise<Operation>
  /** Leaves out the step that needs attention, where that is safe. */
  skip(principal: Principal, id: string): Promise<Operation>
  /** Says whether the commit was made, where nothing else can. */
  decide(principal: Principal, id: string, happened: boolean): Promise<Operation>
  /** Bytes per second; 0: unlimited. */
  setRate(principal: Principal, id: string, rate: number): Promise<Operation>
  /** What its copies hold to, as people write it; throws `invalid`, also for one that has no pace. */
  setPace(principal: Principal, id: string, wishes: PaceWishes): Promise<Operation>
  /** All that is on record of one operation, or of a page of them, newest first. */
  history(principal: Principal, id: string): Promise<OperationRecord>
  histories(principal: Principal, query: HistoryQuery): Promise<HistoryPage>
  /** Calls back after each change, newest state only, until the returned function is called. */
  watch(id: string, onChange: (operation: Operation) => void): () => void
  /** How many have not ended, by the state that is shown; parts of others only where they need attention. */
  counts(): Promise<Record<string, number>>
}

const statesOf: Record<string, RunState[]> = {
  running: ['pending', 'running', 'waiting', 'unwinding'],
  paused: ['paused'],
  cancelling: ['cancelling'],
  succeeded: ['succeeded'],
  failed: ['failed'],
  cancelled: ['cancelled'],
  'needs-attention': ['needs-attention'],
}

export function createOperations(options: {
  executor: Executor
  volumes: Pick<VolumeRecords, 'find'>
  flexvols: Pick<FlexVolRecords, 'find'>
  snapshots: Pick<SnapshotRecords, 'find'>
  moves: Pick<FlexVolMoveRecords, 'find'>
  shares: Pick<ShareRecords, 'find'>
  /** The server's name, for operations on servers. */
  serverName: (serverId: string) => Promise<string | null>
  /** From which compute host to which one it takes a server; null: it takes none. */
  serverHosts: (operationId: string) => Promise<{ source: string; target: string | null } | null>
  /** Until when the operation can be undone after its end; null: it can't. */
  undoableUntil: (run: RunRecord) => Promise<string | null>
  host: string
  /** What holds where none was asked for: `2x`. */
  pace: string
}): Operations {
  const { executor } = options

  const namesOf = async (run: RunRecord): Promise<OperationNames> => {
    const { type, id } = resourceOf(run)
    return {
      resourceName: await nameOf(options, type, id),
      ...(await endsOf(options, run)),
      parts: hasParts.has(run.kind)
        ? (await executor.list({ parentId: run.id, limit: 1000 })).runs.length
        : 0,
      undoUntil: await options.undoableUntil(run),
      pace: options.pace,
    }
  }
  const possible = (run: RunRecord): Possible => {
    const { wishes, skip } = executor.possible(run.id)
    return { wishes: isPausable(run.kind) ? wishes : wishes.filter((wish) => wish !== 'pause'), skip }
  }
  const view = async (run: RunRecord): Promise<Operation> =>
    operationView(run, await executor.history(run.id), await namesOf(run), possible(run))
  const record = async (run: RunRecord): Promise<OperationRecord> =>
    operationRecord(run, await executor.history(run.id))
  const admin = (principal: Principal): void => enforce(principal, 'ndo:operations', 'admin')

  return {
    async list(principal, query) {
      admin(principal)
      const page = await executor.list({
        limit: query.limit ?? 100,
        ...(query.state === undefined ? {} : { states: statesFor(query.state) }),
        ...(query.kind === undefined ? {} : { kinds: [query.kind] }),
        ...(query.resource === undefined ? {} : { key: keyFor(query.resource) }),
        ...partsWanted(query),
        ...(query.marker === undefined ? {} : { after: query.marker }),
      })
      return {
        operations: await Promise.all(page.runs.map(view)),
        next_marker: page.more ? (page.runs.at(-1)?.id ?? null) : null,
      }
    },
    async show(principal, id) {
      admin(principal)
      return view(await executor.get(id))
    },
    async pause(principal, id) {
      admin(principal)
      requirePausable(await executor.get(id))
      return view(await executor.pause(id))
    },
    async resume(principal, id) {
      admin(principal)
      return view(await executor.resume(id))
    },
    async cancel(principal, id) {
      admin(principal)
      return view(await executor.cancel(id))
    },
    async skip(principal, id) {
      admin(principal)
      return view(await executor.skip(id))
    },
    async decide(principal, id, happened) {
      admin(principal)
      return view(await executor.decideCommit(id, happened))
    },
    async setRate(principal, id, rate) {
      admin(principal)
      return view(await executor.steer(id, { rate: rate === 0 ? null : rate }))
    },
    async setPace(principal, id, asked) {
      admin(principal)
      const wishes = paceWishes(asked)
      requirePaced(await executor.get(id))
      return view(await executor.steer(id, wishes))
    },
    async history(principal, id) {
      admin(principal)
      return record(await executor.get(id))
    },
    async histories(principal, query) {
      admin(principal)
      const page = await executor.list({
        limit: query.limit ?? 100,
        ...(query.since === undefined ? {} : { updatedSince: timeOf(query.since) }),
        ...(query.marker === undefined ? {} : { after: query.marker }),
      })
      return {
        records: await Promise.all(page.runs.map(record)),
        next_marker: page.more ? (page.runs.at(-1)?.id ?? null) : null,
      }
    },
    watch: (id, onChange) => watch(executor, id, view, onChange),
    async counts() {
      const whole = await executor.list({ limit: 1000, states: unended, parentId: null })
      const stuck = await executor.list({ limit: 1000, states: ['needs-attention'] })
      const counts: Record<string, number> = {}
      for (const { state } of [...whole.runs, ...stuck.runs.filter(({ parentId }) => parentId !== null)]) {
        const shown = operationState(state)
        counts[shown] = (counts[shown] ?? 0) + 1
      }
      return counts
    },
  }
}

type Sources = Parameters<typeof createOperations>[0]

/** What moves servers copies memory: that has a rate, and no client whose latency it could hold to. */
function requirePaced({ id, kind }: RunRecord): void {
  if (!kind.startsWith('server.') && !kind.startsWith('host.')) return
  throw new DomainError(
    'invalid',
    `${kind} copies no volume, so it has no pace. It has a rate: volant operations rate ${id} 50M`,
  )
}

/** Kinds of operations that are carried out by others. */
const hasParts: ReadonlySet<string> = new Set([
  'flexvol.move',
  'aggregate.vacate',
  'share.migrate',
  'host.drain',
  'host.evacuate',
  'host.restore',
])

/**
 * What is no part of another, unless asked otherwise: a move of a thousand images would hide everything else. Who asks for
 * one kind, one resource, or what needs attention means all of those.
 */
function partsWanted(query: OperationListQuery): { parentId?: string | null } {
  if (query.parent !== undefined) return { parentId: query.parent }
  const specific =
    query.kind ?? query.resource ?? (query.state === 'needs-attention' ? query.state : undefined)
  const parts = query.parts === undefined ? specific !== undefined : query.parts === 'true'
  return parts ? {} : { parentId: null }
}

async function nameOf(sources: Sources, type: string, id: string): Promise<string | null> {
  switch (type) {
    case 'volume':
      return (await sources.volumes.find(id))?.name ?? null
    case 'snapshot':
      return (await sources.snapshots.find(id))?.name ?? null
    case 'share':
      return (await sources.shares.find(id))?.name ?? null
    case 'flexvol': {
      const flexvol = await sources.flexvols.find(id)
      // Nobody but Volant gave a share's FlexVol its name.
      const share = flexvol?.shareId ? await sources.shares.find(flexvol.shareId) : undefined
      return share?.name ?? flexvol?.name ?? null
    }
    case 'aggregate':
    case 'node':
    case 'host':
      return id
    default:
      return sources.serverName(id)
  }
}

/** From where to where: pools of a migration, aggregates of a move. */
async function endsOf(
  { flexvols, moves, host, serverHosts }: Sources,
  run: RunRecord,
): Promise<{ source: string | null; target: string | null }> {
  if (run.kind === 'flexvol.move') {
    const move = await moves.find(run.id)
    return { source: move ? placeText(move.from) : null, target: move ? placeText(move.to) : null }
  }
  const hosts = run.kind.startsWith('server.') ? await serverHosts(run.id) : null
  if (hosts !== null) return hosts
  const input = run.input as Record<string, unknown>
  const [from, to] = [placeIn(input['from']), placeIn(input['to'])]
  if (from !== null || to !== null) return { source: from, target: to }
  const hostString = async (flexvolId: unknown): Promise<string | null> => {
    const flexvol = typeof flexvolId === 'string' ? await flexvols.find(flexvolId) : undefined
    return flexvol === undefined ? null : hostStringOf(host, flexvol)
  }
  return {
    source: await hostString(input['sourceFlexvolId']),
    target: await hostString(input['targetFlexvolId']),
  }
}

/** A part of a move has its places in its input. */
function placeIn(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) return null
  const { node, aggregate } = value as Record<string, unknown>
  return typeof node === 'string' && typeof aggregate === 'string' ? placeText({ node, aggregate }) : null
}

/** As the records have it: in UTC, to the millisecond. */
function timeOf(text: string): string {
  const time = new Date(text)
  if (/^\d{4}-\d\d-\d\d/.test(text) && !Number.isNaN(time.getTime())) return time.toISOString()
  throw new DomainError(
    'invalid',
    `'${text}' is no time: write it as ISO 8601, such as 2026-11-22T10:00:00Z.`,
  )
}

const unended: RunState[] = [
  'pending',
  'running',
  'waiting',
  'paused',
  'cancelling',
  'unwinding',
  'needs-attention',
]

function statesFor(state: string): RunState[] {
  const states = statesOf[state]
  if (states === undefined) {
    throw new DomainError(
      'invalid',
      `There is no state '${state}'. There are: ${Object.keys(statesOf).join(', ')}.`,
    )
  }
  return states
}

/** `volume/ID` as it is; a bare id is a volume's. */
const keyFor = (resource: string): string => (resource.includes('/') ? resource : `volume/${resource}`)

/** One view at a time: changes that come while one is being made are shown by the next, so none is shown stale. */
function watch(
  executor: Executor,
  id: string,
  view: (run: RunRecord) => Promise<Operation>,
  onChange: (operation: Operation) => void,
): () => void {
  let stopped = false
  let busy = false
  let again = false
  const show = async (): Promise<void> => {
    if (busy) {
      again = true
      return
    }
    busy = true
    try {
      do {
        again = false
        const operation = await view(await executor.get(id))
        if (!stopped) onChange(operation)
      } while (again)
    } finally {
      busy = false
    }
  }
  const stop = executor.onEvent((event) => {
    const runId = event.type === 'run' ? event.run.id : 'runId' in event ? event.runId : null
    // The store may be failing; the next event shows the state again.
    if (runId === id) void show().catch(() => {})
  })
  return () => {
    stopped = true
    stop()
  }
}
