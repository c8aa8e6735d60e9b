/** What a copy's pace is, why, and what it was: as it is kept with the operation's progress. Pure. */

/** What holds the copy back: nothing, its clients, its own rate, its share of a budget, ignorance. */
export type PaceLimit = 'none' | 'latency' | 'rate' | 'budget' | 'unknown'

export interface PaceView {
  /** As it was asked for, or as configured: `2x`. */
  policy: string
  priority: string
  /** Bytes per second; null: unlimited. */
  limitBps: number | null
  limitedBy: PaceLimit
  /** Of the client that decided, in milliseconds; null: nobody is there, or it was not measured. */
  p99Ms: number | null
  boundMs: number | null
  baselineMs: number | null
  /** In words. */
  reason: string
  series: PaceSeries
}

/** Seconds since the first one, the limit in bytes per second (-1: none), p99 and bound in milliseconds (-1: none). */
export type PacePoint = [seconds: number, limit: number, p99: number, bound: number]

/** The pace over time, in not more than `mostPoints`: where there would be more, every other one goes. */
export interface PaceSeries {
  /** ISO 8601. */
  startedAt: string
  /** Seconds between two points. */
  everySeconds: number
  points: PacePoint[]
}

const mostPoints = 120

export const newSeries = (startedAt: Date): PaceSeries => ({
  startedAt: startedAt.toISOString(),
  everySeconds: 1,
  points: [],
})

/** `seconds` since `startedAt`. */
export function withPoint(
  series: PaceSeries,
  seconds: number,
  { limitBps, p99Ms, boundMs }: Pick<PaceView, 'limitBps' | 'p99Ms' | 'boundMs'>,
): PaceSeries {
  const last = series.points.at(-1)
  if (last !== undefined && seconds - last[0] < series.everySeconds * 0.95) return series
  const point: PacePoint = [
    Math.round(seconds * 10) / 10,
    limitBps === null ? -1 : Math.round(limitBps),
    rounded(p99Ms),
    rounded(boundMs),
  ]
  const points = [...series.points, point]
  if (points.length <= mostPoints) return { ...series, points }
  return {
    ...series,
    everySeconds: series.everySeconds * 2,
    points: points.filter((_point, i) => i % 2 === 0),
  }
}

const rounded = (ms: number | null): number => (ms === null ? -1 : Math.round(ms * 100) / 100)
