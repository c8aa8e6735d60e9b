/**
 * Whose fault is it that a client waits longer? Its copies go to their floor for some hundred milliseconds, and what it waits
 * for then is its own: its reference from then on. Pure.
 *
 * Where the copy is the cause that shows as little as before, and the bound is as it was. Where it is not, the bound has
 * moved to where the world has, and the copy goes on as it did before the check.
 */
import { leastReferenceMs, observed, p99Of, type ClientTrack } from './client-latency.ts'

/** Between two checks, where one after the other finds what is known already, and where it does not. Milliseconds. */
const [longestMs, shortestMs] = [32_000, 4000]
/** And at the most, where the client waits for more by itself than before: that may be over. Milliseconds. */
const raisedMs = 8000
/** And at the least, where something gives cause. Milliseconds. */
const distanceMs = 2000
/** How long one takes: at the least, and at the most. Milliseconds. */
const [leastMs, mostMs] = [350, 1500]
/** So many requests are enough; of fewer than the second nothing is concluded. */
const [enough, fewest] = [250, 50]
/** A difference by less than this factor may be chance. */
const marked = 1.5
/** Of bursts such a short window has too few or too many: more than so much is not believed at once. */
const leap = 8

/** A check costs the copy its time, so one that something gives cause for keeps a distance as well. */
export const mayCheck = ({ check }: ClientTrack, now: number): boolean =>
  check.since === null && now - check.endedAt >= distanceMs

/**
 * Without any cause: what was taken as the client's own may have become less since. Not before the copy, which began at
 * `begunAt`, has gone on for as long: a short one would spend more on it than it could do to its client.
 */
export const isCheckDue = (
  { check, referenceMs, baselineMs }: ClientTrack,
  begunAt: number,
  now: number,
): boolean => {
  const isRaised = (referenceMs ?? 0) > (baselineMs ?? 0) * marked
  return (
    check.since === null &&
    now - Math.max(check.endedAt, begunAt) >= Math.min(check.everyMs, isRaised ? raisedMs : Infinity)
  )
}

export const withCheck = (track: ClientTrack, now: number): ClientTrack => ({
  ...track,
  check: { ...track.check, since: now },
})

/** Null: it goes on. `from`: since when all copies are at their floor, and what was on its way has been answered. */
export function concluded(track: ClientTrack, from: number, now: number): ClientTrack | null {
  const elapsed = now - from
  const seen = observed(track, from)
  const requests = seen?.requests ?? 0
  if (elapsed < leastMs || (requests < enough && elapsed < mostMs)) return null
  const { check, referenceMs } = track
  const over = { since: null, endedAt: now }
  // Whoever began it did not look for long: nobody knows how fast copies went meanwhile.
  const isLate = elapsed > mostMs * 4
  const p99Ms = seen === null || isLate || requests < fewest ? null : p99Of(seen)
  if (p99Ms === null || referenceMs === null) {
    return { ...track, check: { ...over, everyMs: Math.min(longestMs, check.everyMs * 2) } }
  }
  const factor = Math.max(p99Ms, leastReferenceMs) / Math.max(referenceMs, leastReferenceMs)
  const isMarked = factor > marked || factor < 1 / marked
  return {
    ...track,
    // Of some hundred requests a 99th percentile is known within a third or so: what may be chance counts half. So does
    // what is less: bursts that the client has by itself are not in each of these short windows.
    referenceMs:
      factor > marked
        ? Math.min(p99Ms, leap * Math.max(referenceMs, leastReferenceMs))
        : Math.sqrt(p99Ms * referenceMs),
    check: { ...over, everyMs: isMarked ? shortestMs : Math.min(longestMs, check.everyMs * 2) },
  }
}
