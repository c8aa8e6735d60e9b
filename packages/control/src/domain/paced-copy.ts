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
import { feltSince, governed, settleMs, newGovernor, type Felt, type GovernorState } from './governor.ts'
import type { Pace } from '@volant/contract/ndo/pace.ts'

export interface PacedCopy {
  governor: GovernorState
  /** Since when it waits at its floor for the latency that a client has without it. Milliseconds; null: it does not. */
  measuringSince: number | null
  /** What was told last of the client that decided; null: nothing yet. */
  told: Told | null
}

export const newPacedCopy = (rateBps: number, now: number): PacedCopy => ({
  governor: newGovernor(rateBps, now),
  measuringSince: null,
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
  state: 'measuring' | 'idle' | 'over' | 'under' | 'steady'
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
  const copy = { ...before, measuringSince: null }
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
  const told = stillTold(tell(worst), before.told)
  return { copy: { ...copy, governor, told }, clients, rateBps: governor.rateBps, told }
}

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
  if (feeling.is === 'under') return { is: 'under', share, sureness: feeling.sureness }
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
    loweredAt: since,
    kneeBps: null,
    kneeLeftMs: 0,
    idleSince: null,
  }
  return {
    copy: { governor, measuringSince: since, told: null },
    clients,
    rateBps: leastBps,
    told: { client: waiting, p99Ms: null, boundMs: null, baselineMs: null, state: 'measuring' },
  }
}

function isBusy(track: ClientTrack, now: number): boolean {
  const seen = observed(track, now - 1100)
  return seen !== null && seen.requests >= (busyRequests * seen.ms) / 1000
}
