import { newSeries } from '../domain/pace-view.ts'
import type { CopyPace } from '../ports/copy-pace.ts'

const noSeries = newSeries(new Date(0))

/** Copies go at the rate that they were given, and nobody is asked: for tests, and where there is no client. */
export const ungoverned: CopyPace = {
  begin: async ({ control }) => control.rate ?? 0,
  at: async ({ control }) => ({
    rate: control.rate ?? 0,
    isGoverned: false,
    view: {
      policy: 'full',
      priority: control.priority ?? 'normal',
      limitBps: control.rate,
      limitedBy: control.rate === null ? 'none' : 'rate',
      p99Ms: null,
      boundMs: null,
      baselineMs: null,
      reason: 'it goes as fast as it can',
      series: noSeries,
    },
  }),
  inFlightBytes: () => undefined,
  end: () => {},
}
