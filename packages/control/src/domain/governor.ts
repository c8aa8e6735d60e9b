/**
 * # The law of the governor
 *
 * How fast a copy may go, from what its clients feel. Pure: the latest look in, a rate out.
 *
 *     p99                                            rate
 *      │  over: ×(aim/p99), at once                    │      ╭─╮ over ×0.6
 *    bound ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─                       │     ╱  │  ╭─╮      tried once more: was it the copy?
 *      │  steady: the rate stays                       │    ╱   ╰──╯ │   ╭─── it was: slowly up to there,
 *     aim  ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─                       │   ╱         ╰──╯     and tried again after a while
 *      │  under: up, the faster the more room          │  ╱
 *      └──────────────────────────── time              └──────────────── time
 *
 * Latency rises with the rate as a queue does: little, then steeply. So the law works in the logarithm of both. Down it
 * goes in proportion to the excess, and then looks only at what was answered after that: what was in the queue before says
 * nothing of the new rate, and a second step for the same cause is what makes such loops oscillate. Up it goes by
 * a bounded share a second, slowly near the rate at which it was too much, where that has shown to be the copy's doing.
 */

export interface GovernorState {
  /** Bytes per second; Infinity: unlimited. */
  rateBps: number
  /** Of the latest step. Milliseconds. */
  at: number
  /** When the rate was last changed so much that what was felt before says nothing of it. Milliseconds. */
  changedAt: number
  /** Where it was too much; null: it never was, or something else was. */
  knee: Knee | null
  /** The first of the steps down since it is too much; null: it is not. */
  lowering: { fromBps: number; share: number } | null
  /** What it had before it was lowered, where that may have been in vain. Bytes per second; 0: nothing. */
  formerBps: number
  /** It was never too much yet: nothing is known of what there is to have. */
  isNew: boolean
  /** Since when nobody was there to be disturbed. Milliseconds; null: somebody is. */
  idleSince: number | null
}

/**
 * A rate at which it was too much. Whether that was the copy's doing shows where it goes back there: where it is too much
 * at once again it was, and the next trial is later; where it is not, something else was, and the knee is none.
 */
export interface Knee {
  bps: number
  /** How often it has shown. */
  shown: number
  /** Until the next trial. Milliseconds. */
  trialInMs: number
  isTried: boolean
}

export const newGovernor = (rateBps: number, now: number): GovernorState => ({
  rateBps,
  at: now,
  changedAt: -Infinity,
  knee: null,
  lowering: null,
  formerBps: 0,
  isNew: true,
  idleSince: null,
})

/** What the client that is nearest to its bound feels. */
export type Felt =
  | { is: 'idle' | 'unsure' }
  /** `share`: its 99th percentile as a share of its bound. */
  | { is: 'over'; share: number }
  /** `sureness`, 0 to 1: how far what is seen of it is to be believed; `lately`: the same share in the latest look alone. */
  | { is: 'under'; share: number; lately: number; sureness: number }

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
/** So near its bound a client is over it half of the time, by less than chance explains: down a little, for each second. */
const [brim, easing] = [0.9, 0.05]
/** The strongest and the weakest step down. */
const [strongest, weakest] = [0.3, 0.85]
/** What was on its way when the rate was changed is answered after so long. Milliseconds. */
export const settleMs = 120
/** The growth of the logarithm, for each second: at the most, for each unit of room, and near the knee. */
const [growth, growthByRoom, growthAtKnee] = [1.4, 2.5, 0.06]
/** The same before it was ever too much: nothing is known yet, and a short copy is over soon. */
const [growthWhileNew, growthByRoomWhileNew] = [2.8, 4.2]
/** Where the knee begins and ends, as shares of it. */
const [kneeFrom, kneeTo] = [0.7, 1.15]
/** It is tried after so long, then after so many times that, and so on. Milliseconds. */
const [trialMs, laterTrial, longestTrialMs] = [500, 4, 32_000]
/** The step of a trial, and how near it goes to the knee: near enough to show whose doing it was. */
const [trialStep, trialTo] = [1.7, 0.92]
/** Where it is too much so far below the knee as well, that one explains nothing. */
const explained = 0.75
/** Where there is so much room below the knee, the world has changed, and time counts so much more. */
const [roomThere, haste] = [0.33, 5]
/** Copies that share a disk come to their fair parts of it in about so long. Milliseconds. */
const fairnessMs = 3000
/** One goes beyond its part by so much, for that is how all of them find more. */
const beyondPart = 1.25
/** An idle client may be one that waits: so long nothing is given. Milliseconds. */
const idleHoldMs = 500
/** Then for each second; and beyond this multiple of what is used there is no limit. */
const [idleGrowth, unlimitedAt] = [3, 8]
/** A rate that is not used says nothing: it stays within this multiple of what is. */
const unused = 2.5

/** What was answered before this says nothing of the rate of now. Milliseconds. */
export const feltSince = ({ changedAt }: GovernorState): number => changedAt + settleMs

export function governed(before: GovernorState, input: GovernorInput): GovernorState {
  const { now, felt } = input
  const elapsedMs = Math.min(1000, Math.max(0, now - before.at))
  const state = {
    ...before,
    at: now,
    knee: felt.is === 'idle' ? null : waited(before.knee, felt, elapsedMs),
    lowering: felt.is === 'idle' || felt.is === 'under' ? null : before.lowering,
    formerBps: felt.is === 'idle' ? 0 : before.formerBps,
    idleSince: felt.is === 'idle' ? (before.idleSince ?? now) : null,
  }
  if (felt.is === 'over') return lowered(state, input, felt.share)
  if (felt.is !== 'under') {
    const rateBps =
      felt.is === 'idle' ? freed(state, input, elapsedMs / 1000) : Math.max(input.leastBps, state.rateBps)
    return { ...state, rateBps: fairer(rateBps, input, elapsedMs) }
  }
  const tried = triedOnceMore(state, input, elapsedMs)
  if (tried !== null) return tried
  const rateBps = raised(
    state,
    input,
    state.isNew ? Math.max(felt.share, felt.lately) : felt.share,
    (felt.sureness * elapsedMs) / 1000,
  )
  return { ...state, rateBps: fairer(modest(rateBps, state, input), input, elapsedMs) }
}

/** Time passes until it is tried again. */
function waited(knee: Knee | null, felt: Felt, elapsedMs: number): Knee | null {
  if (knee === null || felt.is !== 'under') return knee
  const isFarAway = Math.log(aim / felt.share) > roomThere
  return { ...knee, trialInMs: knee.trialInMs - elapsedMs * felt.sureness * (isFarAway ? haste : 1) }
}

/** Back to where it was too much, in bounded steps. Null: there is nothing to be tried now. */
function triedOnceMore(state: GovernorState, input: GovernorInput, elapsedMs: number): GovernorState | null {
  const { now, leastBps } = input
  const { knee, rateBps } = state
  if (knee === null) return null
  // Looks are not evenly apart, and neither is what it is drawn to its part by.
  const isThere = rateBps >= fairer(knee.bps * trialTo, input, elapsedMs) * 0.95
  // It is well where it was too much: that was something else.
  if (isThere && knee.isTried) return { ...state, knee: null, formerBps: 0 }
  if (!knee.isTried && knee.trialInMs > 0) return null
  const next = Math.max(leastBps, Math.min(knee.bps * trialTo, rateBps * trialStep))
  return {
    ...state,
    rateBps: fairer(next, input, elapsedMs),
    changedAt: now,
    knee: { ...knee, isTried: true },
  }
}

/** Nobody is there: all of it, in a moment. */
function freed({ rateBps, idleSince }: GovernorState, input: GovernorInput, seconds: number): number {
  const { now, usedBps, leastBps } = input
  if (now - (idleSince ?? now) < idleHoldMs) return rateBps
  const next = Math.max(leastBps, rateBps) * Math.exp(idleGrowth * seconds)
  const isUseless = usedBps !== null && next > Math.max(leastBps, usedBps) * unlimitedAt
  return isUseless ? Infinity : next
}

/** Whoever has more than its part waits until the others have theirs: what there is to have is theirs first. */
function modest(rateBps: number, state: GovernorState, { fairBps }: GovernorInput): number {
  if (fairBps === undefined || fairBps === null) return rateBps
  return Math.min(rateBps, Math.max(state.rateBps, fairBps * beyondPart))
}

/** A newcomer begins slowly, and by shares of what each has it would stay behind for ever. */
function fairer(rateBps: number, { fairBps, leastBps }: GovernorInput, elapsedMs: number): number {
  if (fairBps === undefined || fairBps === null || rateBps === Infinity) return rateBps
  const share = 1 - Math.exp(-elapsedMs / fairnessMs)
  return Math.max(leastBps, rateBps * (fairBps / rateBps) ** share)
}

function lowered(state: GovernorState, input: GovernorInput, share: number): GovernorState {
  const { now, usedBps, leastBps } = input
  // From what it does, not from what it might: a limit above that would be lowered in vain.
  const from = Math.max(leastBps, Math.min(state.rateBps, usedBps === null ? Infinity : usedBps * 1.1))
  const lowering = state.lowering ?? { fromBps: from, share }
  // At its floor it can do no more, and what is felt is the client's own. What was is not counted twice all the same.
  if (from <= leastBps) return { ...state, rateBps: leastBps, changedAt: now, lowering, isNew: false }
  return {
    ...state,
    rateBps: Math.max(leastBps, from === Infinity ? leastBps : from * stepDown(share)),
    changedAt: now,
    knee: kneeAt(from, state),
    lowering,
    // Where a trial has shown that it is the copy's doing there is nothing to go back to.
    formerBps:
      state.knee !== null && state.knee.isTried ? 0 : Math.max(state.formerBps, from === Infinity ? 0 : from),
    isNew: false,
  }
}

const stepDown = (share: number): number => Math.min(weakest, Math.max(strongest, (aim / share) ** 0.8))

const shownAt = (bps: number, shown: number): Knee => ({
  bps,
  shown,
  trialInMs: Math.min(longestTrialMs, trialMs * laterTrial ** shown),
  isTried: false,
})

function kneeAt(bps: number, { knee }: GovernorState): Knee | null {
  if (bps === Infinity) return null
  if (knee === null) return shownAt(bps, 0)
  if (knee.isTried) return shownAt(bps, knee.shown + 1)
  // Too much again, at much less: by itself that is not the knee's doing.
  return bps < knee.bps * explained ? shownAt(bps, 0) : { ...knee, bps }
}

/**
 * What is left of a lowering where the bound has turned out to be another: `share` is what was felt then, of the bound as it
 * is now. Within it nothing was the copy's fault, and it goes on as before.
 */
export function reconsidered(
  state: GovernorState,
  { now, fromBps, share, leastBps }: { now: number; fromBps: number; share: number; leastBps: number },
): GovernorState {
  const isOver = share > 1
  return {
    ...state,
    rateBps: Math.max(leastBps, isOver ? fromBps * stepDown(share) : Math.max(fromBps, state.formerBps)),
    at: now,
    changedAt: now,
    // That it is less at the floor has shown just now.
    knee: isOver ? shownAt(fromBps, Math.max(1, state.knee?.shown ?? 0)) : null,
    lowering: null,
    formerBps: 0,
    idleSince: null,
  }
}

function raised(
  { rateBps, knee, isNew }: GovernorState,
  { usedBps, leastBps }: GovernorInput,
  share: number,
  seconds: number,
): number {
  const now = Math.max(leastBps, rateBps)
  const room = Math.log(aim / share)
  if (now === Infinity) return now
  if (share > brim) return Math.max(leastBps, now * Math.exp(-easing * seconds))
  if (room <= 0) return now
  const isAtKnee = knee !== null && now > knee.bps * kneeFrom && now < knee.bps * kneeTo
  const [most, byRoom] = isNew ? [growthWhileNew, growthByRoomWhileNew] : [growth, growthByRoom]
  const perSecond = isAtKnee ? growthAtKnee : Math.min(most, byRoom * room)
  const next = now * Math.exp(perSecond * seconds)
  // Up to the knee's beginning in one stride, and not through it.
  const stopped =
    knee !== null && now <= knee.bps * kneeFrom ? Math.min(next, knee.bps * kneeFrom * 1.001) : next
  return usedBps === null ? stopped : Math.max(now, Math.min(stopped, Math.max(leastBps, usedBps * unused)))
}
