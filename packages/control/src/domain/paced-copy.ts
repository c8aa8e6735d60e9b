/** One look at a governed copy: its clients' latency in, its rate and the reason for it out. Pure. */
import {
  feelingOf,
  followed,
  leastReferenceMs,
  observed,
  withBaseline,
  type ClientTrack,
  type Feeling,
} from './client-latency.ts'
import {
  feltSince,
  governed,
  newGovernor,
  reconsidered,
  settleMs,
  type Felt,
  type GovernorState,
} from './governor.ts'
import { concluded, isCheckDue, mayCheck, withCheck } from './reference-check.ts'
import type { Pace } from '@volant/contract/ndo/pace.ts'

export interface PacedCopy {
  governor: GovernorState
  /** Milliseconds. */
  begunAt: number
  /** Since when it waits at its floor for the latency that a client has without it. Milliseconds; null: it does not. */
  measuringSince: number | null
  /** What it did, and what the client of this name waited for, before it went to its floor to see whose fault that is. */
  checking: { client: string; rateBps: number; p99Ms: number } | null
  /** What was told last of the client that decided; null: nothing yet. */
  told: Told | null
}

export const newPacedCopy = (rateBps: number, now: number): PacedCopy => ({
  governor: newGovernor(rateBps, now),
  begunAt: now,
  measuringSince: null,
  checking: null,
  told: null,
})

export interface PaceInput {
  now: number
  pace: Extract<Pace, { kind: 'times' | 'ms' }>
  /** By a name that says who it is. */
  clients: ReadonlyMap<string, ClientTrack>
  usedBps: number | null
  leastBps: number
  fairBps?: number | null
}

/** What the client that decided felt. Milliseconds. */
export interface Told {
  /** Its name; null: nobody was there to be felt. */
  client: string | null
  p99Ms: number | null
  boundMs: number | null
  baselineMs: number | null
  state: 'measuring' | 'checking' | 'idle' | 'over' | 'under' | 'steady'
}

export interface PaceVerdict {
  copy: PacedCopy
  clients: Map<string, ClientTrack>
  /** Bytes per second; Infinity: unlimited. */
  rateBps: number
  told: Told
}

/** A client whose latency without the copy is not known is looked at for so long, the copy at its floor. Milliseconds. */
const measureMs = 1500
/** And for so long, where it has few requests. Milliseconds. */
const longestMeasureMs = 4000
/** So near its floor a copy is no reason for much. */
const nearFloor = 2
/** All copies that feel a client look at it within so long. Milliseconds. */
const laggingMs = 300
/** A copy that was lowered to this share has done enough for its client, where it is the cause. */
const lessRate = 0.75
/** So many requests in a second, and it is worth that. */
const busyRequests = 5

/** Milliseconds; null: what it is reckoned from is not known. */
export function boundOf(pace: PaceInput['pace'], { referenceMs }: ClientTrack): number | null {
  if (pace.kind === 'ms') return pace.ms
  return referenceMs === null ? null : pace.times * Math.max(referenceMs, leastReferenceMs)
}

export function paced(before: PacedCopy, input: PaceInput): PaceVerdict {
  const { now, pace, leastBps } = input
  const clients = new Map(input.clients)
  const measuring = measured(before, clients, input)
  if (measuring !== null) return measuring
  const resumed = checked(before, clients, input)
  if ('rateBps' in resumed) return resumed
  const copy = { ...resumed, measuringSince: null }
  const felt = [...clients].flatMap(([client, track]) => {
    const boundMs = boundOf(pace, track)
    if (boundMs === null) return []
    return [{ client, track, boundMs, feeling: feelingOf(track, feltSince(copy.governor), now, boundMs) }]
  })
  // Of those who can't be judged yet it is the one that slowed it.
  const former = before.told?.client
  const worst = felt.toSorted((a, b) => weightOf(b, former) - weightOf(a, former))[0]
  const governor = governed(copy.governor, {
    now,
    felt: worst === undefined ? { is: 'idle' } : feltAs(worst),
    usedBps: input.usedBps,
    leastBps,
    ...(input.fairBps !== undefined && { fairBps: input.fairBps }),
  })
  const isAtFloor = copy.governor.rateBps <= leastBps * nearFloor
  const elapsedMs = Math.min(1000, now - copy.governor.at)
  for (const { client, track, feeling } of felt) {
    if (feeling.p99Ms === null || feeling.is === 'idle') continue
    clients.set(client, followed(track, feeling.p99Ms, elapsedMs, isAtFloor))
  }
  if (worst !== undefined && pace.kind === 'times' && isDoubtful(worst, copy, input)) {
    const { lowering, rateBps } = copy.governor
    const checking = {
      client: worst.client,
      rateBps: lowering?.fromBps ?? Math.min(rateBps, input.usedBps === null ? rateBps : input.usedBps * 1.1),
      p99Ms: lowering === null ? (worst.feeling.p99Ms ?? 0) : lowering.share * worst.boundMs,
    }
    // Where it was at its floor already, what was felt since then is what is asked for.
    const wasThere = rateBps <= leastBps * nearFloor && !hasOthers(input)
    const since = wasThere ? Math.max(copy.governor.changedAt, now - longestMeasureMs) : now
    clients.set(worst.client, withCheck(clients.get(worst.client) ?? worst.track, Math.max(since, 0)))
    return atFloor({ ...copy, checking }, clients, input)
  }
  const told = stillTold(tell(worst), before.told)
  return { copy: { ...copy, governor, told }, clients, rateBps: governor.rateBps, told }
}

/**
 * Whether it is to be seen what its client waits for without the copy: it still waits too long where the copy has become
 * slower, or can't become slower; or nobody has looked for long.
 */
function isDoubtful(
  { track, feeling }: FeltClient,
  { begunAt, governor: { rateBps, lowering } }: PacedCopy,
  { now, leastBps }: PaceInput,
): boolean {
  if (feeling.p99Ms === null || track.referenceMs === null) return false
  if (isCheckDue(track, begunAt, now) && feeling.is !== 'idle' && feeling.p99Ms > track.referenceMs)
    return true
  if (feeling.is !== 'over' || !mayCheck(track, now)) return false
  if (rateBps <= leastBps * nearFloor) return true
  // A step down is meant to be enough.
  return lowering !== null && rateBps <= lowering.fromBps * lessRate
}

/** At its floor, till it is seen whose fault it is; or as it goes on after that. */
function checked(
  before: PacedCopy,
  clients: Map<string, ClientTrack>,
  input: PaceInput,
): PaceVerdict | PacedCopy {
  const { now, pace, leastBps } = input
  if (pace.kind !== 'times') return { ...before, checking: null }
  // Whoever shares the disk is at its floor not before its own next look.
  const others = hasOthers(input) ? laggingMs : 0
  let isGoing: string | null = null
  for (const [client, track] of clients) {
    const { since } = track.check
    if (since === null) continue
    const over = concluded(track, since + settleMs + others, now)
    if (over === null) isGoing = client
    else clients.set(client, over)
  }
  const { checking, governor } = before
  if (isGoing !== null) {
    const p99Ms = before.told?.client === isGoing ? (before.told.p99Ms ?? 0) : 0
    const found = checking ?? { client: isGoing, rateBps: governor.rateBps, p99Ms }
    return atFloor({ ...before, checking: found }, clients, input)
  }
  if (checking === null) return before
  const track = clients.get(checking.client)
  const boundMs = track === undefined ? null : boundOf(pace, track)
  const share = boundMs === null ? 0 : checking.p99Ms / boundMs
  const fromBps = checking.rateBps === Infinity ? leastBps : checking.rateBps
  return { ...before, checking: null, governor: reconsidered(governor, { now, fromBps, share, leastBps }) }
}

function atFloor(copy: PacedCopy, clients: Map<string, ClientTrack>, input: PaceInput): PaceVerdict {
  const { now, pace, leastBps } = input
  const client = [...clients].find(([, { check }]) => check.since !== null)?.[0] ?? null
  const track = client === null ? undefined : clients.get(client)
  const told: Told = {
    client,
    p99Ms: copy.told?.p99Ms ?? null,
    boundMs: track === undefined ? null : boundOf(pace, track),
    baselineMs: track?.baselineMs ?? null,
    state: 'checking',
  }
  const governor = { ...copy.governor, rateBps: leastBps, at: now }
  return { copy: { ...copy, governor, told }, clients, rateBps: leastBps, told }
}

const hasOthers = ({ fairBps }: PaceInput): boolean => fairBps !== undefined && fairBps !== null

interface FeltClient {
  client: string
  track: ClientTrack
  boundMs: number
  feeling: Feeling
}

const shareOf = ({ feeling, boundMs }: FeltClient): number => (feeling.p99Ms ?? 0) / boundMs

/** Who is over decides, before who can't be judged yet; of two alike the one that is nearer to its bound. */
const weightOf = (felt: FeltClient, former: string | null | undefined): number =>
  ({ over: 3e6, unsure: 2e6, under: 1e6, idle: 0 })[felt.feeling.is] +
  Math.min(9e5, shareOf(felt)) +
  (felt.feeling.p99Ms === null && felt.client === former ? 1e5 : 0)

function feltAs(felt: FeltClient): Felt {
  const { feeling } = felt
  const share = shareOf(felt)
  if (feeling.is === 'under') {
    return { is: 'under', share, lately: feeling.latelyMs / felt.boundMs, sureness: feeling.sureness }
  }
  return feeling.is === 'over' ? { is: 'over', share } : { is: feeling.is }
}

function tell(worst: FeltClient | undefined): Told {
  if (worst === undefined)
    return { client: null, p99Ms: null, boundMs: null, baselineMs: null, state: 'idle' }
  const { client, track, boundMs, feeling } = worst
  const state = feeling.is === 'unsure' ? 'steady' : feeling.is
  return { client, p99Ms: feeling.p99Ms, boundMs, baselineMs: track.baselineMs, state }
}

/** Just after its rate was lowered nothing is known of the new one: what was known of the old one is told till then. */
const stillTold = (now: Told, before: Told | null): Told =>
  now.state === 'steady' && now.p99Ms === null && before?.client === now.client
    ? { ...now, p99Ms: before.p99Ms }
    : now

/** Null: nobody has to be measured. */
function measured(
  before: PacedCopy,
  clients: Map<string, ClientTrack>,
  input: PaceInput,
): PaceVerdict | null {
  const { now, leastBps, pace } = input
  if (pace.kind !== 'times') return null
  const since = before.measuringSince ?? now
  let waiting: string | null = null
  for (const [client, track] of clients) {
    if (track.referenceMs !== null || !isBusy(track, now)) continue
    const found = now - since >= measureMs ? withBaseline(track, since + settleMs) : track
    clients.set(client, found)
    if (found.referenceMs === null && now - since < longestMeasureMs) waiting ??= client
  }
  if (waiting === null) return null
  const governor = {
    ...before.governor,
    rateBps: leastBps,
    at: now,
    changedAt: since,
    knee: null,
    lowering: null,
    formerBps: 0,
    idleSince: null,
  }
  return {
    copy: { ...before, governor, measuringSince: since, checking: null, told: null },
    clients,
    rateBps: leastBps,
    told: { client: waiting, p99Ms: null, boundMs: null, baselineMs: null, state: 'measuring' },
  }
}

function isBusy(track: ClientTrack, now: number): boolean {
  const seen = observed(track, now - 1100)
  return seen !== null && seen.requests >= (busyRequests * seen.ms) / 1000
}
