import type { Pace } from '@volant/contract/ndo/pace.ts'

/** How fast copies go, as configured. */
export interface CopySettings {
  /** Of an operation that asks for no other. */
  pace: Pace
  /** What each copy has at the least, so that it ends. Bytes per second. */
  floorBps: number
  /** Of a copy whose client's latency can't be found out. Bytes per second. */
  blindBps: number
  /** What all copies of one storage node have together; 0: unlimited. Bytes per second. */
  nodeBudgetBps: number
  /**
   * How far a copy that is slow for its client's sake is raised where that client outruns it, before the client is
   * shaped. Bytes per second.
   */
  catchUpBps: number
}

const mib = 1024 ** 2

export const defaultCopySettings: CopySettings = {
  pace: { kind: 'times', times: 2 },
  floorBps: 8 * mib,
  blindBps: 32 * mib,
  nodeBudgetBps: 0,
  catchUpBps: 64 * mib,
}
