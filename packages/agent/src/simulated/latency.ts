import { randomUUID } from 'node:crypto'
import { latencyBoundsNs } from '@volant/contract'
import type { DeviceLatency, LatencyHistogram } from '@volant/contract'

/** Requests that ended: how long each took. Nanoseconds. */
export interface EndedRequests {
  reads?: number[]
  writes?: number[]
  flushes?: number[]
}

/** The counts of one device, from its beginning on. */
export class SimulatedLatency {
  readonly #since = randomUUID()
  readonly #counts = {
    reads: noRequests(),
    writes: noRequests(),
    flushes: noRequests(),
  }

  add(ended: EndedRequests): void {
    for (const kind of ['reads', 'writes', 'flushes'] as const) {
      for (const ns of ended[kind] ?? []) {
        const bin = latencyBoundsNs.findIndex((bound) => ns < bound)
        const counts = this.#counts[kind]
        counts.splice(bin, 1, (counts.at(bin) ?? 0) + 1)
      }
    }
  }

  read(): DeviceLatency {
    const { reads, writes, flushes } = this.#counts
    return {
      since: this.#since,
      reads: histogram(reads),
      writes: histogram(writes),
      flushes: histogram(flushes),
    }
  }
}

const noRequests = (): number[] => Array.from({ length: latencyBoundsNs.length + 1 }, () => 0)

const histogram = (counts: number[]): LatencyHistogram => ({
  boundsNs: [...latencyBoundsNs],
  counts: [...counts],
})
