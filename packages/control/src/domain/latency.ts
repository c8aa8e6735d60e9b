/**
 * What histograms of latency say of a window of time. Pure. Counts only grow, so a window is the difference of two
 * snapshots; within a bin requests are taken to lie evenly.
 */
import type { DeviceLatency, LatencyHistogram } from '@volant/contract'

/** What was answered between the two; null: they can't be subtracted, for one counts anew or in other bins. */
export function between(earlier: LatencyHistogram, later: LatencyHistogram): LatencyHistogram | null {
  const { boundsNs, counts } = later
  const isSame =
    earlier.boundsNs.length === boundsNs.length &&
    earlier.boundsNs.every((bound, i) => bound === boundsNs[i]) &&
    earlier.counts.length === counts.length
  if (!isSame) return null
  const difference = counts.map((count, i) => count - (earlier.counts[i] ?? 0))
  return difference.some((count) => count < 0) ? null : { boundsNs, counts: difference }
}

/** Reads, writes and flushes together: a client waits for all of them. They are counted in the same bins. */
export function together({ reads, writes, flushes }: DeviceLatency): LatencyHistogram {
  const { boundsNs } = reads
  const counts = [...reads.counts]
  for (const { boundsNs: bounds, counts: more } of [writes, flushes]) {
    for (const [i, count] of more.entries()) {
      // Of other bins: the one that has their upper end.
      const upper = bounds[i]
      const own =
        bounds === boundsNs || upper === boundsNs[i]
          ? i
          : upper === undefined
            ? counts.length - 1
            : boundsNs.findIndex((bound) => bound >= upper)
      const bin = own < 0 ? counts.length - 1 : own
      counts[bin] = (counts[bin] ?? 0) + count
    }
  }
  return { boundsNs, counts }
}

export const requestsIn = ({ counts }: LatencyHistogram): number =>
  counts.reduce((all, count) => all + count, 0)

/** How many took longer than `ns`. In the last bin, which has no end, all or none. */
export function slowerThan({ boundsNs, counts }: LatencyHistogram, ns: number): number {
  let slow = 0
  for (const [i, count] of counts.entries()) {
    const from = boundsNs[i - 1] ?? 0
    const to = boundsNs[i]
    if (ns <= from) slow += count
    else if (to !== undefined && ns < to) slow += (count * (to - ns)) / (to - from)
  }
  return slow
}

/**
 * The latency that the share `quantile` (0 to 1) of the requests did not exceed, in nanoseconds; null: there was none.
 * What lies in the last bin is told as its lower end: it was at least that.
 */
export function percentile(window: LatencyHistogram, quantile: number): number | null {
  const { boundsNs, counts } = window
  const all = requestsIn(window)
  if (all === 0) return null
  const allowed = all * (1 - quantile)
  let slower = all
  for (const [i, bound] of boundsNs.entries()) {
    const inside = counts[i] ?? 0
    const from = boundsNs[i - 1] ?? 0
    slower -= inside
    if (slower > allowed) continue
    return inside === 0 ? from : from + ((bound - from) * (slower + inside - allowed)) / inside
  }
  return boundsNs.at(-1) ?? 0
}
