/**
 * What the drain and the restore of a compute host have in common: each server is an operation of its own, begun as a part.
 * No list is kept. A look is given what is to be done with each server now, finds in the parts what was done, and begins
 * what is next; so a crash, and whatever somebody else does with a server meanwhile, need nothing of their own. Only what
 * was against a server is remembered, in the progress: it is tried again later, not at each look. One file, over 400 lines:
 * a look is one judgement, made of all of these.
 */
import type { RunRecord } from '@volant/saga'
import { isForRoom, type Task, type Way } from '../domain/host-drain.ts'
import type { Against, HostProgress, ServerLine } from '../domain/host-progress.ts'
import { largestFirst } from '../domain/host-placement.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { ServerMigrationRecords } from '../ports/server-migrations.ts'
import type { RelocationRefusal, ServerRelocations } from '../ports/server-relocations.ts'
import { hasLeft } from './live-migrate-server.ts'
import { unlessOver } from './part-wishes.ts'

/** How long what may pass is waited for. Milliseconds. */
export interface HostPatience {
  /** Attempts of one server that failed, until it stays. */
  attempts: number
  /** Before the second attempt; each further one waits twice as long, `longest` at most. */
  first: number
  longest: number
  /** For what other operations hold, and for somebody else's work on the server. */
  busy: number
  /** For room, and for hosts that are away, when nothing else is under way. */
  noPlace: number
}

export const hostPatience: HostPatience = {
  attempts: 5,
  first: 2_000,
  longest: 60_000,
  busy: 3_600_000,
  noPlace: 60_000,
}

export interface HostPartsPorts {
  relocations: ServerRelocations
  engine: Pick<OperationEngine, 'get' | 'partsOf' | 'cancel' | 'pause' | 'resume' | 'steer'>
  migrations: Pick<ServerMigrationRecords, 'find'>
  /** Absent: `hostPatience`. */
  patience?: HostPatience
}

/** One server, and what is to be done with it. */
export interface Work {
  id: string
  name: string
  /** Where it is. */
  at: string
  memoryMib: number
  vcpus: number
  task: Task
}

/** Where those that are ready are to go (null: nowhere), or why they can't. */
export type Places = Map<string, { to: string | null } | { reason: string }>

export interface Scene {
  works: readonly Work[]
  /** At most so many at once. */
  parallel: number
  /** `except`: hosts that refused it, with their reasons. */
  place(ready: readonly Work[], except: (id: string) => Record<string, string>): Promise<Places>
  /** How many more a destination may be sent now. */
  roomAt(host: string): number
  /** Before the part begins: what must be on record then. */
  before(work: Work, to: string | null, way: Way): Promise<void>
  by: { userId: string; projectId: string }
}

/** What is seen by the operation's parts. */
export interface Op {
  id: string
  control: { paused: boolean; rate: number | null }
}

export type Parts = ReadonlyMap<string, readonly RunRecord[]>

export const serverOf = (part: RunRecord): string => (part.input as { serverId: string }).serverId

/** Of each server, newest first. */
export async function partsByServer(
  ports: Pick<HostPartsPorts, 'engine'>,
  operationId: string,
): Promise<Parts> {
  return Map.groupBy(await ports.engine.partsOf(operationId), serverOf)
}

export const isGoing = (part: RunRecord | undefined): part is RunRecord =>
  part !== undefined && part.endedAt === null

/** One of the `parallel`: what only tidies up where its server was does not keep the next from beginning. */
const takesTurn = (part: RunRecord): boolean => isGoing(part) && !hasLeft(part)

const waysOfKinds: Record<string, Way> = {
  'server.live-migrate': 'live',
  'server.resize': 'cold',
  'server.stop': 'stop',
  'server.start': 'start',
}
export const wayOf = (part: RunRecord): Way | null => waysOfKinds[part.kind] ?? null

/** What is asked of the operation is asked of its parts, once for each change. */
export async function bringWishes(
  { engine }: Pick<HostPartsPorts, 'engine'>,
  before: HostProgress | null,
  parts: Parts,
  wishes: HostProgress['brought'],
): Promise<void> {
  if (before === null) return
  for (const part of [...parts.values()].flat().filter(isGoing)) {
    if (before.brought.paused !== wishes.paused && part.control.paused !== wishes.paused) {
      await unlessOver(() => (wishes.paused ? engine.pause(part.id) : engine.resume(part.id)))
    }
    if (before.brought.rate !== wishes.rate) {
      await unlessOver(() => engine.steer(part.id, { rate: wishes.rate }))
    }
  }
}

export const progressOf = async (
  { engine }: Pick<HostPartsPorts, 'engine'>,
  operationId: string,
): Promise<HostProgress | null> => (await engine.get(operationId)).progress as HostProgress | null

/** One look: begins as many parts as there may be, and tells how it is with each server that is still to be dealt with. */
export async function lookOnwards(
  ports: HostPartsPorts,
  op: Op,
  scene: Scene,
  parts: Parts,
  before: HostProgress | null,
  now: Date,
): Promise<ServerLine[]> {
  const patience = ports.patience ?? hostPatience
  const earlier = new Map((before?.servers ?? []).map((line) => [line.id, line]))
  const lines = new Map<string, ServerLine>()
  const ready: Work[] = []
  for (const work of scene.works) {
    const judged = await judge(ports, work, parts.get(work.id) ?? [], earlier.get(work.id), now)
    lines.set(work.id, judged.line)
    if (judged.ready) ready.push(work)
  }
  if (op.control.paused || ready.length === 0) return [...lines.values()]
  const lineOf = (work: Work): ServerLine => lines.get(work.id) as ServerLine
  const places = await scene.place(ready, (id) => lines.get(id)?.against?.hosts ?? {})
  let free = scene.parallel - [...parts.values()].flat().filter(takesTurn).length
  const sent = new Map<string, number>()
  const isMore = [...lines.values()].some(({ fate }) => fate === 'moving')
  for (const work of ready.toSorted(largestFirst)) {
    const line = lineOf(work)
    const place = places.get(work.id) ?? { reason: 'no place was looked for' }
    if ('reason' in place) {
      noPlace(line, place.reason, patience, isMore, now)
      continue
    }
    const isFull = place.to !== null && (sent.get(place.to) ?? 0) >= scene.roomAt(place.to)
    if (free <= 0 || isFull) continue
    const begun = await begin(ports, op, scene, work, place.to)
    if ('operationId' in begun) {
      free -= 1
      if (place.to !== null) sent.set(place.to, (sent.get(place.to) ?? 0) + 1)
      const hosts = line.against?.hosts ?? {}
      // What refused it for good is still known; all else begins anew.
      const against = line.against === null || Object.keys(hosts).length === 0 ? null : line.against
      Object.assign(line, {
        fate: 'moving',
        to: place.to,
        reason: null,
        against,
      } satisfies Partial<ServerLine>)
    } else refused(line, begun, place.to, patience, now)
  }
  return [...lines.values()]
}

async function begin(
  { relocations, engine }: HostPartsPorts,
  op: Op,
  scene: Scene,
  work: Work,
  to: string | null,
): Promise<{ operationId: string } | RelocationRefusal> {
  if (work.task.kind !== 'go') return { reason: 'nothing is to be done with it', passing: true }
  const { way } = work.task
  await scene.before(work, to, way)
  const begun = await relocations.start({ way, serverId: work.id, host: to, parent: op.id, by: scene.by })
  const { rate } = op.control
  if ('operationId' in begun && rate !== null) {
    await unlessOver(() => engine.steer(begun.operationId, { rate }))
  }
  return begun
}

const later = (now: Date, ms: number): string => new Date(now.getTime() + ms).toISOString()
const backOff = ({ first, longest }: HostPatience, tries: number): number =>
  Math.min(longest, first * 2 ** Math.max(0, tries - 1))

/** The same cause counts on; another one begins anew. Hosts that refused it are remembered. */
function held(old: Against | null, cause: Against['cause'], reason: string, now: Date): Against {
  const same = old?.cause === cause ? old : null
  const since = same?.since ?? now.toISOString()
  const tries = (same?.tries ?? 0) + 1
  return { cause, reason, since, next: since, tries, isOver: false, hosts: old?.hosts ?? {} }
}

const waitedMs = ({ since }: Against, now: Date): number => now.getTime() - Date.parse(since)

function hold(line: ServerLine, against: Against): void {
  line.against = against
  line.reason = against.reason
  line.fate = against.isOver ? 'stays' : 'waiting'
}

/** It was not let begin: for a while, by its destination, or at all. */
function refused(
  line: ServerLine,
  { reason, passing }: RelocationRefusal,
  to: string | null,
  patience: HostPatience,
  now: Date,
): void {
  const against = held(line.against, 'refused', reason, now)
  if (!passing && to !== null) {
    // Another destination is tried at once.
    hold(line, { ...against, next: now.toISOString(), hosts: { ...against.hosts, [to]: reason } })
  } else {
    const isOver = !passing || waitedMs(against, now) > patience.busy
    hold(line, { ...against, isOver, next: later(now, backOff(patience, against.tries)) })
  }
}

/** Where nothing is under way that may make room, it is waited for a short while only. */
function noPlace(line: ServerLine, reason: string, patience: HostPatience, isMore: boolean, now: Date): void {
  const against = held(isMore ? null : line.against, 'place', reason, now)
  const hosts = line.against?.hosts ?? {}
  const isOver = !isMore && waitedMs(against, now) >= patience.noPlace
  hold(line, { ...against, hosts, isOver, next: later(now, Math.min(patience.first, patience.noPlace)) })
}

/** What is to be said of the server, and whether it may be begun now. */
async function judge(
  ports: HostPartsPorts,
  work: Work,
  parts: readonly RunRecord[],
  earlier: ServerLine | undefined,
  now: Date,
): Promise<{ line: ServerLine; ready: boolean }> {
  const against = earlier?.against ?? null
  const patience = ports.patience ?? hostPatience
  const { task } = work
  const [newest] = parts
  const line: ServerLine = {
    id: work.id,
    name: work.name,
    fate: 'waiting',
    way: isGoing(newest) ? wayOf(newest) : task.kind === 'go' ? task.way : null,
    from: work.at,
    to: null,
    doneBytes: 0,
    totalBytes: work.memoryMib * 1024 ** 2,
    rateBps: 0,
    reason: null,
    against,
  }
  const as = (changes: Partial<ServerLine>) => ({ line: { ...line, ...changes }, ready: false })
  if (isGoing(newest)) {
    const migration = await ports.migrations.find(newest.id)
    const reason = newest.state === 'needs-attention' ? `operation ${newest.id} needs attention` : null
    const to = migration?.destHost ?? earlier?.to ?? null
    return as({ fate: 'moving', to, ...measureOf(newest), reason })
  }
  if (task.kind === 'rests') return as({ fate: 'stopped', reason: task.reason, against: null })
  if (task.kind === 'over') return as({ fate: 'moved', reason: task.reason, against: null })
  if (task.kind === 'stays') return as({ fate: 'stays', reason: task.reason, against: null })
  if (task.kind === 'busy') {
    const busy = held(against, 'busy', task.reason, now)
    hold(line, { ...busy, next: now.toISOString(), isOver: waitedMs(busy, now) > patience.busy })
    return { line, ready: false }
  }
  await holdFailed(ports, line, parts, patience, now)
  if (line.fate === 'stays') return { line, ready: false }
  if (line.against === null || Date.parse(line.against.next) <= now.getTime()) return { line, ready: true }
  return as({ fate: line.against.isOver ? 'stays' : 'waiting', reason: line.against.reason })
}

/** How the parts of a server went that failed since it last arrived. */
async function holdFailed(
  { migrations }: HostPartsPorts,
  line: ServerLine,
  parts: readonly RunRecord[],
  patience: HostPatience,
  now: Date,
): Promise<void> {
  const [newest] = parts
  if (newest === undefined || newest.state === 'succeeded') return
  const against = held(line.against, 'failed', reasonOf(newest), now)
  if (newest.state === 'cancelled') {
    hold(line, { ...against, isOver: true })
    return
  }
  const streak = parts.slice(
    0,
    Math.max(
      0,
      parts.findIndex(({ state }) => state !== 'failed'),
    ),
  )
  const failed = streak.length === 0 ? parts : streak
  const hosts = { ...against.hosts }
  for (const part of failed.filter((one) => !isPassing(one))) {
    const to = (await migrations.find(part.id))?.destHost
    if (to != null) hosts[to] = reasonOf(part)
  }
  const isKnown = Object.values(hosts).includes(reasonOf(newest))
  if (failed.length >= patience.attempts || (!isPassing(newest) && !isKnown)) {
    const times = failed.length > 1 ? ` (${failed.length} attempts)` : ''
    hold(line, { ...against, hosts, isOver: true, reason: `${reasonOf(newest)}${times}` })
    return
  }
  const ended = Date.parse(newest.endedAt ?? newest.updatedAt)
  const next = new Date(isPassing(newest) ? ended + backOff(patience, failed.length) : ended).toISOString()
  // A refusal since then has a time of its own.
  if (line.against !== null && line.against.since > (newest.endedAt ?? '')) {
    line.against = { ...line.against, hosts }
  } else hold(line, { ...against, hosts, next, tries: failed.length })
}

const isPassing = ({ failure }: RunRecord): boolean =>
  failure !== null &&
  (failure.class !== 'final' || failure.code === 'unavailable' || isForRoom(failure.message))

function reasonOf({ id, kind, state, failure }: RunRecord): string {
  if (state === 'cancelled') return `its ${kind} was cancelled (operation ${id})`
  return failure?.message ?? `operation ${id} is ${state}`
}

/** Bytes of memory that a part has sent. */
function measureOf({
  progress,
}: RunRecord): Partial<Pick<ServerLine, 'doneBytes' | 'totalBytes' | 'rateBps'>> {
  if (typeof progress !== 'object' || progress === null) return {}
  const { doneBytes, totalBytes, rateBps } = progress as Record<string, unknown>
  if (typeof doneBytes !== 'number' || typeof totalBytes !== 'number' || totalBytes <= 0) return {}
  return { doneBytes, totalBytes, rateBps: typeof rateBps === 'number' ? rateBps : 0 }
}

/** Servers that its parts have brought where they should be, and that need nothing more. */
export function arrived(
  parts: Parts,
  here: ReadonlySet<string>,
  servers: ReadonlyMap<string, { name: string; host: string | null; memoryMib: number }>,
  home: string,
): ServerLine[] {
  return [...parts].flatMap(([id, [newest]]): ServerLine[] => {
    const server = servers.get(id)
    if (here.has(id) || newest === undefined) return []
    const going = isGoing(newest)
    return [
      {
        id,
        name: server?.name ?? id,
        fate: going ? 'moving' : wayOf(newest) === 'start' ? 'started' : 'moved',
        way: wayOf(newest),
        from: home,
        to: server?.host ?? null,
        doneBytes: 0,
        totalBytes: (server?.memoryMib ?? 0) * 1024 ** 2,
        rateBps: 0,
        reason: server === undefined ? 'it was deleted' : null,
        against: null,
      },
    ]
  })
}

/** A way back: nothing more is begun, and what is under way is cancelled. True when all of it has ended. */
export async function lookBack(
  { engine }: Pick<HostPartsPorts, 'engine'>,
  operationId: string,
): Promise<{ done: boolean; advance: unknown }> {
  const underWay = (await engine.partsOf(operationId)).filter(isGoing)
  for (const part of underWay) {
    if (!part.control.cancelRequested) await unlessOver(() => engine.cancel(part.id))
  }
  const advance = underWay.map(({ id, state, progress }) => ({ id, state, progress }))
  return { done: underWay.length === 0, advance }
}

/** Of a server that nothing more is done with. `reason`: what its last look told. */
export function lineAtEnd({ id, name, at, memoryMib, task }: Work, reason: string | null): ServerLine {
  const rests = task.kind === 'rests'
  const because = task.kind === 'go' ? (reason ?? 'it came while the others left') : task.reason
  return {
    id,
    name,
    fate: rests ? 'stopped' : 'stays',
    way: null,
    from: at,
    to: null,
    doneBytes: 0,
    totalBytes: memoryMib * 1024 ** 2,
    rateBps: 0,
    reason: because,
    against: null,
  }
}
