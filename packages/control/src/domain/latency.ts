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

/** Reads, writes and flushes of one disk in a window: a client waits for all of them. */
export function windowOf(earlier: DeviceLatency, later: DeviceLatency): LatencyHistogram[] | null {
  if (earlier.since !== later.since) return null
  const kinds = (['reads', 'writes', 'flushes'] as const).map((kind) => between(earlier[kind], later[kind]))
  return kinds.every((kind) => kind !== null) ? kinds : null
}

export const requestsIn = (window: readonly LatencyHistogram[]): number =>
  window.reduce((sum, { counts }) => sum + counts.reduce((all, count) => all + count, 0), 0)

/** How many took longer than `ns`. In the last bin, which has no end, all or none. */
export function slowerThan(window: readonly LatencyHistogram[], ns: number): number {
  let slow = 0
  for (const { boundsNs, counts } of window) {
    for (const [i, count] of counts.entries()) {
      const from = boundsNs[i - 1] ?? 0
      const to = boundsNs[i]
      if (ns <= from) slow += count
      else if (to !== undefined && ns < to) slow += (count * (to - ns)) / (to - from)
    }
  }
  return slow
}

/**
 * The latency that the share `quantile` (0 to 1) of the requests did not exceed, in nanoseconds; null: there was none.
 * What lies in the last bin is told as its lower end: it was at least that.
 */
export function percentile(window: readonly LatencyHistogram[], quantile: number): number | null {
  const all = requestsIn(window)
  if (all === 0) return null
  const allowed = all * (1 - quantile)
  const bounds = [...new Set(window.flatMap(({ boundsNs }) => boundsNs))].sort((a, b) => a - b)
  let from = 0
  let slowerThanFrom = all
  for (const bound of bounds) {
    const slower = slowerThan(window, bound)
    if (slower <= allowed) {
      const inside = slowerThanFrom - slower
      return inside === 0 ? bound : from + ((bound - from) * (slowerThanFrom - allowed)) / inside
    }
    from = bound
    slowerThanFrom = slower
  }
  return from
}
