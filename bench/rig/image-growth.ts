import { stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '@volant/contract/errors.ts'
import { monotonicMs } from '../measure.ts'

/** When (`monotonicMs`), and how many bytes were allocated then. */
export type Growth = [at: number, bytes: number][]

export interface GrowthWatch {
  points: Growth
  /** From the first byte until all are there. Throws where it was not seen as a whole. */
  range(): { from: number; to: number }
  stop(): void
}

const lookEveryMs = 10

/**
 * How an image grows that a copy fills: the exact time of a copy of which all is allocated, whoever makes it.
 * `find` says where it is, once it is there.
 */
export function watchGrowth(find: () => Promise<string | undefined>, sizeBytes: number): GrowthWatch {
  const points: Growth = []
  const over = new AbortController()
  let failure = ''
  const watch = async (): Promise<void> => {
    let path: string | undefined
    for (let last = -1; !over.signal.aborted; await sleep(lookEveryMs)) {
      path ??= await find()
      if (path === undefined) continue
      const bytes = (await stat(path)).blocks * 512
      if (bytes !== last) points.push([monotonicMs(), bytes])
      last = bytes
      if (bytes >= sizeBytes) break
    }
  }
  watch().catch((error: unknown) => (failure = `: ${messageOf(error)}`))
  return {
    points,
    range() {
      const from = points.findLast(([, bytes]) => bytes === 0) ?? points[0]
      const to = points.find(([, bytes]) => bytes >= sizeBytes)
      if (from === undefined || to === undefined) {
        throw new Error(
          `the target was seen with ${points.at(-1)?.[1] ?? 0} of ${sizeBytes} bytes only${failure}`,
        )
      }
      return { from: from[0], to: to[0] }
    },
    stop: () => over.abort(),
  }
}

/** MiB/s in stretches of a fifth of a second: when each begins, and the rate. */
export function ratesOf(points: Growth): [number, number][] {
  const rates: [number, number][] = []
  let [since, bytes] = points[0] ?? [0, 0]
  for (const [at, now] of points) {
    if (at - since < 200) continue
    rates.push([since, (now - bytes) / 2 ** 20 / ((at - since) / 1000)])
    ;[since, bytes] = [at, now]
  }
  return rates
}
