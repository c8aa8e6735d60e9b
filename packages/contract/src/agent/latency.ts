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

/** What the client of one volume waited for. */
export interface DiskLatency {
  /** The attachment's id. */
  attachmentId: string
  volumeId: string
  /** Names one count: where it differs from that of an earlier answer, the two can't be subtracted. */
  since: string
  reads: LatencyHistogram
  writes: LatencyHistogram
  flushes: LatencyHistogram
}
