/**
 * What one client waits for, from snapshots of its histograms: its 99th percentile in the latest second, and whether it is
 * over a bound. Pure.
 *
 * A 99th percentile of few requests is an accident: of 50 it is the slowest one. So a client is over its bound only where
 * more requests were slow than chance explains (a binomial test), and never by a single one. A client of very few requests,
 * none of them slow, is idle.
 */
import type { DeviceLatency, LatencyHistogram } from '@volant/contract'
import { between, percentile, requestsIn, slowerThan, together } from './latency.ts'

export interface ClientTrack {
  /** Oldest first. Times are milliseconds of a clock that does not jump. */
  snapshots: { at: number; since: string; counted: LatencyHistogram }[]
  /** Its 99th percentile without the copy; null: it was idle then, or nobody asked. Milliseconds. */
  baselineMs: number | null
  /** What its bound is reckoned from: the baseline, and what was learned since of what it waits for by itself. Milliseconds. */
  referenceMs: number | null
  check: ReferenceCheck
}

/** Looks at what it waits for while all copies beside it are at their floor: `reference-check.ts`. */
export interface ReferenceCheck {
  /** When the one began that is under way; null: none is. Milliseconds. */
  since: number | null
  /** When the latest one ended, or its like before the copy began. Milliseconds. */
  endedAt: number
  /** Milliseconds between two that nothing gave cause for. */
  everyMs: number
}

const noCheck = (endedAt: number): ReferenceCheck => ({ since: null, endedAt, everyMs: 4000 })

export const newTrack = (): ClientTrack => ({
  snapshots: [],
  baselineMs: null,
  referenceMs: null,
  check: noCheck(0),
})

/** How far back anything looks. Milliseconds. */
const keptMs = 10_200
/** The window in which a client's latency is told. Milliseconds. */
const windowMs = 1000
/** Of a client with few requests more is looked at. Milliseconds. */
const longWindowMs = 3000
/** Evidence of few requests adds up for so long. Milliseconds. */
const longestWindowMs = 10_000
/** That few were slow of so many is no accident. */
const sureRequests = 400
/** A client of few requests must not hold a copy back for ever. */
const leastSureness = 0.2
/** Fewer in a second, none of them slow: it is idle. */
const fewRequests = 5
/** So many are enough to go by, however short the time. */
const enoughRequests = 100
/** Fewer in a single look are not looked at by themselves. */
const fewLately = 80
/** Of fewer nothing is concluded. */
const baselineRequests = 10
/** What chance explains more often than this proves nothing. */
const significance = 0.02
/** Two times of `setInterval` are never exactly as far apart as they were meant to be. Milliseconds. */
const slackMs = 60

export function withSnapshot(track: ClientTrack, at: number, latency: DeviceLatency): ClientTrack {
  const last = track.snapshots.at(-1)
  // Its device was plugged in anew, or its QEMU was: the counts begin again.
  const before = last !== undefined && last.since !== latency.since ? [] : track.snapshots
  return {
    ...track,
    snapshots: [
      ...before.filter((snapshot) => at - snapshot.at <= keptMs),
      { at, since: latency.since, counted: together(latency) },
    ],
  }
}

export interface Observed {
  requests: number
  /** Milliseconds from the window's beginning to its end. */
  ms: number
  window: LatencyHistogram
}

/** From the first snapshot at or after `from` to the latest one; null: there are not two. */
export function observed(track: ClientTrack, from: number): Observed | null {
  const first = track.snapshots.find(({ at }) => at >= from)
  const last = track.snapshots.at(-1)
  if (first === undefined || last === undefined || first.at >= last.at) return null
  const window = between(first.counted, last.counted)
  return window && { requests: requestsIn(window), ms: last.at - first.at, window }
}

export type Feeling =
  /** Nothing is known of it yet, or not enough for a verdict. */
  | { is: 'unsure'; p99Ms: number | null }
  | { is: 'idle'; p99Ms: number | null }
  /** `sureness`, 0 to 1: how far so many requests are to be believed; `latelyMs`: the 99th percentile of the latest look. */
  | { is: 'under'; p99Ms: number; latelyMs: number; sureness: number }
  | { is: 'over'; p99Ms: number }

/** How the client fares by its bound, from what was answered at or after `since`. */
export function feelingOf(track: ClientTrack, since: number, now: number, boundMs: number): Feeling {
  const second = observed(track, Math.max(since, now - windowMs - slackMs))
  if (second === null) return { is: 'unsure', p99Ms: null }
  const long =
    second.requests < sureRequests
      ? (observed(track, Math.max(since, now - longWindowMs - slackMs)) ?? second)
      : second
  const p99Ms = p99Of(long)
  // A burst shows in the latest look first.
  const latest = observed(track, track.snapshots.at(-2)?.at ?? now)
  const longest = observed(track, Math.max(since, now - longestWindowMs - slackMs))
  for (const seen of [latest, second, long, longest]) {
    if (seen === null || !isOver(seen, boundMs)) continue
    return { is: 'over', p99Ms: Math.max(boundMs, p99Of(seen) ?? 0) }
  }
  const slow = slowOf(long, boundMs)
  if (second.requests < (fewRequests * second.ms) / windowMs && slow < 2) {
    return second.ms >= windowMs / 2 ? { is: 'idle', p99Ms } : { is: 'unsure', p99Ms }
  }
  const isEnough = second.ms >= windowMs / 2 || second.requests >= enoughRequests
  if (p99Ms === null || p99Ms >= boundMs || !isEnough) return { is: 'unsure', p99Ms }
  const lately = latest === null || latest.requests < fewLately ? null : p99Of(latest)
  const sureness = Math.min(1, Math.max(leastSureness, long.requests / sureRequests))
  return { is: 'under', p99Ms, latelyMs: lately ?? p99Ms, sureness }
}

const slowOf = ({ window }: Observed, boundMs: number): number =>
  Math.round(slowerThan(window, boundMs * 1e6))

export const p99Of = ({ window }: Observed): number | null => {
  const ns = percentile(window, 0.99)
  return ns === null ? null : ns / 1e6
}

/** More were slower than the bound than one in a hundred, and than chance explains. */
function isOver(seen: Observed, boundMs: number): boolean {
  const slow = slowOf(seen, boundMs)
  return slow >= 2 && atLeast(slow, seen.requests / 100) < significance
}

/** The probability of `count` events or more where `mean` are expected (Poisson). */
function atLeast(count: number, mean: number): number {
  // Far from the mean, where the sum below would only lose its digits.
  if (count > mean * 3 + 20) return 0
  let term = Math.exp(-mean)
  let below = 0
  for (let i = 0; i < count; i += 1) {
    below += term
    term *= mean / (i + 1)
  }
  return Math.max(0, 1 - below)
}

/** The least that a bound is reckoned from: what is faster than this is the machine's noise. Milliseconds. */
export const leastReferenceMs = 0.5

/**
 * Its latency without the copy, from what was answered at or after `since`: the reference, until something is known better.
 * Of a client of too few requests there is none.
 */
export function withBaseline(track: ClientTrack, since: number): ClientTrack {
  const seen = observed(track, since)
  if (seen === null || seen.requests < baselineRequests) return track
  const p99Ms = p99Of(seen)
  if (p99Ms === null) return track
  return {
    ...track,
    baselineMs: p99Ms,
    referenceMs: p99Ms,
    check: noCheck(track.snapshots.at(-1)?.at ?? since),
  }
}

/** How fast a reference follows, up and down. For each second. */
const [risePerSecond, fallPerSecond] = [0.2, 0.1]

/**
 * The client's own latency changes as well. What it waits for while the copy is at its floor is its own, so the reference
 * rises after that. And without the copy it can't wait longer than with it: where it waits for less than the reference, that
 * one was an accident of few requests, or has become less since.
 */
export function followed(
  track: ClientTrack,
  p99Ms: number,
  elapsedMs: number,
  isAtFloor: boolean,
): ClientTrack {
  const { referenceMs } = track
  if (referenceMs === null || (p99Ms > referenceMs && !isAtFloor)) return track
  const perSecond = p99Ms > referenceMs ? risePerSecond : fallPerSecond
  const share = 1 - Math.exp((-perSecond * elapsedMs) / 1000)
  return { ...track, referenceMs: referenceMs + (p99Ms - referenceMs) * share }
}
