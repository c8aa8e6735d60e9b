/**
 * How long the requests of a client took, counted in bins. QEMU's `block-latency-histogram-set` and `query-blockstats`
 * have the same notion: n bounds make n + 1 bins, the first from 0, the last without an end.
 */
export interface LatencyHistogram {
  /** Upper bounds of the bins but the last, ascending. Nanoseconds. */
  boundsNs: number[]
  /** Requests in each bin since the count began; one more than there are bounds. They only grow, until a new beginning. */
  counts: number[]
}

/** What the user of a block device waited for: requests that ended, also with an error. */
export interface DeviceLatency {
  /** Names one count: where it differs from that of an earlier answer, the two can't be subtracted. */
  since: string
  reads: LatencyHistogram
  writes: LatencyHistogram
  flushes: LatencyHistogram
}

/** What the client of one volume waited for. */
export interface DiskLatency extends DeviceLatency {
  /** The attachment's id. */
  attachmentId: string
  volumeId: string
}

/**
 * The bounds that agents count with: eight to a decade, each a third more than the one before it, so a percentile is known
 * within 16 % to either side; from 32 µs to 10 s. Nanoseconds.
 */
export const latencyBoundsNs: readonly number[] = Array.from({ length: 45 }, (_none, index) =>
  Math.round(10 ** (4.5 + index / 8)),
)
