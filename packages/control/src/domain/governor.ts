/**
 * # The law of the governor
 *
 * How fast a copy may go, from what its clients feel. Pure: the latest look in, a rate out.
 *
 *     p99                                            rate
 *      │  over: ×(aim/p99), at once                    │      ╭─╮ over ×0.6
 *    bound ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─                       │     ╱  │    ╭───  slowly up to where it was over,
 *      │  steady: the rate stays                       │    ╱   ╰──╯      faster again beyond
 *     aim  ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─                       │   ╱
 *      │  under: up, the faster the more room          │  ╱
 *      └──────────────────────────── time              └──────────────── time
 *
 * Latency rises with the rate as a queue does: little, then steeply. So the law works in the logarithm of both. Down it
 * goes in proportion to the excess, and then looks only at what was answered after that: what was in the queue before says
 * nothing of the new rate, and a second step for the same cause is what makes such loops oscillate. Up it goes by
 * a bounded share a second, slowly near the rate at which it was last too much.
 */

export interface GovernorState {
  /** Bytes per second; Infinity: unlimited. */
  rateBps: number
  /** Of the latest step. Milliseconds. */
  at: number
  /** When the rate was lowered last. Milliseconds. */
  loweredAt: number
  /** The rate at which it was last too much; null: it never was, or that is long ago. */
  kneeBps: number | null
  /** How long the knee still counts. Milliseconds. */
  kneeLeftMs: number
  /** Since when nobody was there to be disturbed. Milliseconds; null: somebody is. */
  idleSince: number | null
}

export const newGovernor = (rateBps: number, now: number): GovernorState => ({
  rateBps,
  at: now,
  loweredAt: -Infinity,
  kneeBps: null,
  kneeLeftMs: 0,
  idleSince: null,
})

/** What the client that is nearest to its bound feels. */
export type Felt =
  | { is: 'idle' | 'unsure' }
  /** `share`: its 99th percentile as a share of its bound. */
  | { is: 'over'; share: number }
  /** `sureness`, 0 to 1: how far what is seen of it is to be believed. */
  | { is: 'under'; share: number; sureness: number }

export interface GovernorInput {
  now: number
  felt: Felt
  /** What the copy gets through now; null: unknown. Bytes per second. */
  usedBps: number | null
  /** It never goes below, so that every copy ends. Bytes per second. */
  leastBps: number
  /** Its part of what the copies have that share a disk with it; null: it shares none. Bytes per second. */
  fairBps?: number | null
}

/** What is aimed at, as a share of the bound: the room that noise needs. */
const aim = 0.7
/** The strongest and the weakest step down. */
const [strongest, weakest] = [0.3, 0.85]
/** What was on its way when the rate was lowered is answered after so long. Milliseconds. */
export const settleMs = 120
/** The growth of the logarithm, for each second: at the most, for each unit of room, and near the knee. */
const [growth, growthByRoom, growthAtKnee] = [1.4, 2.5, 0.06]
/** Where the knee begins and ends, as shares of it. */
const [kneeFrom, kneeTo] = [0.7, 1.15]
/** After so long it is forgotten: the world has changed. Milliseconds. */
const kneeMs = 8000
/** Where there is so much room at the knee, it has changed surely, and time counts so much more. */
const [roomThere, haste] = [0.33, 5]
/** Copies that share a disk come to their fair parts of it in about so long. Milliseconds. */
const fairnessMs = 3000
/** An idle client may be one that waits: so long nothing is given. Milliseconds. */
const idleHoldMs = 500
/** Then for each second; and beyond this multiple of what is used there is no limit. */
const [idleGrowth, unlimitedAt] = [3, 8]
/** A rate that is not used says nothing: it stays within this multiple of what is. */
const unused = 2.5

/** What was answered before this says nothing of the rate of now. Milliseconds. */
export const feltSince = ({ loweredAt }: GovernorState): number => loweredAt + settleMs

export function governed(before: GovernorState, input: GovernorInput): GovernorState {
  const { now, felt } = input
  const elapsedMs = Math.min(1000, Math.max(0, now - before.at))
  const state = {
    ...before,
    ...kneeAfter(before, felt, elapsedMs),
    at: now,
    idleSince: felt.is === 'idle' ? (before.idleSince ?? now) : null,
  }
  if (felt.is === 'over') return lowered(state, input, felt.share)
  const rateBps =
    felt.is === 'under'
      ? raised(state, input, felt.share, (felt.sureness * elapsedMs) / 1000)
      : felt.is === 'idle'
        ? freed(state, input, elapsedMs / 1000)
        : Math.max(input.leastBps, state.rateBps)
  return { ...state, rateBps: fairer(rateBps, input, elapsedMs) }
}

function kneeAfter(
  { kneeBps, kneeLeftMs }: GovernorState,
  felt: Felt,
  elapsedMs: number,
): Pick<GovernorState, 'kneeBps' | 'kneeLeftMs'> {
  if (kneeBps === null) return { kneeBps, kneeLeftMs: 0 }
  const isFarAway = felt.is === 'idle' || (felt.is === 'under' && Math.log(aim / felt.share) > roomThere)
  const sureness = felt.is === 'under' ? felt.sureness : 1
  const leftMs = kneeLeftMs - elapsedMs * sureness * (isFarAway ? haste : 1)
  return leftMs > 0 ? { kneeBps, kneeLeftMs: leftMs } : { kneeBps: null, kneeLeftMs: 0 }
}

/** Nobody is there: all of it, in a moment. */
function freed({ rateBps, idleSince }: GovernorState, input: GovernorInput, seconds: number): number {
  const { now, usedBps, leastBps } = input
  if (now - (idleSince ?? now) < idleHoldMs) return rateBps
  const next = Math.max(leastBps, rateBps) * Math.exp(idleGrowth * seconds)
  const isUseless = usedBps !== null && next > Math.max(leastBps, usedBps) * unlimitedAt
  return isUseless ? Infinity : next
}

/** A newcomer begins slowly, and by shares of what each has it would stay behind for ever. */
function fairer(rateBps: number, { fairBps, leastBps }: GovernorInput, elapsedMs: number): number {
  if (fairBps === undefined || fairBps === null || rateBps === Infinity) return rateBps
  const share = 1 - Math.exp(-elapsedMs / fairnessMs)
  return Math.max(leastBps, rateBps * (fairBps / rateBps) ** share)
}

function lowered(
  state: GovernorState,
  { now, usedBps, leastBps }: GovernorInput,
  share: number,
): GovernorState {
  // From what it does, not from what it might: a limit above that would be lowered in vain.
  const from = Math.max(leastBps, Math.min(state.rateBps, usedBps === null ? Infinity : usedBps * 1.1))
  // At its floor it can do no more, and what is felt is the client's own. What was is not counted twice all the same.
  if (from <= leastBps) return { ...state, rateBps: leastBps, loweredAt: now }
  const factor = Math.min(weakest, Math.max(strongest, (aim / share) ** 0.8))
  const rateBps = Math.max(leastBps, from === Infinity ? leastBps : from * factor)
  return { ...state, rateBps, loweredAt: now, kneeBps: from === Infinity ? null : from, kneeLeftMs: kneeMs }
}

function raised(
  { rateBps, kneeBps }: GovernorState,
  { usedBps, leastBps }: GovernorInput,
  share: number,
  seconds: number,
): number {
  const now = Math.max(leastBps, rateBps)
  const room = Math.log(aim / share)
  if (room <= 0 || now === Infinity) return now
  const isAtKnee = kneeBps !== null && now > kneeBps * kneeFrom && now < kneeBps * kneeTo
  const perSecond = isAtKnee ? growthAtKnee : Math.min(growth, growthByRoom * room)
  const next = now * Math.exp(perSecond * seconds)
  // Up to the knee's beginning in one stride, and not through it.
  const stopped =
    kneeBps !== null && now <= kneeBps * kneeFrom ? Math.min(next, kneeBps * kneeFrom * 1.001) : next
  return usedBps === null ? stopped : Math.max(now, Math.min(stopped, Math.max(leastBps, usedBps * unused)))
}
