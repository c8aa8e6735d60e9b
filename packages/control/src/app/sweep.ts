import type { SweepDocument, SweepReport } from '@volant/contract/ndo/sweep.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { Sweep } from '../ports/sweep.ts'

/** The sweep for administrators: the last pass, or one now. */
export interface Sweeps {
  last(principal: Principal): SweepDocument
  run(principal: Principal, options: { dryRun: boolean }): Promise<{ sweep: SweepReport }>
}

export const createSweeps = (sweep: Sweep): Sweeps => ({
  last(principal) {
    enforce(principal, 'ndo:sweep', 'admin')
    return { sweep: sweep.last() ?? null }
  },
  async run(principal, options) {
    enforce(principal, 'ndo:sweep', 'admin')
    return { sweep: await sweep.run(options) }
  },
})
