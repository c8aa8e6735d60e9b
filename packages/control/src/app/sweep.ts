import { DomainError } from '@volant/contract'
import type { SweepDocument, SweepReport, SweepRequest } from '@volant/contract/ndo/sweep.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { Sweep } from '../ports/sweep.ts'

/** The sweep for administrators: the last pass, or one now. */
export interface Sweeps {
  last(principal: Principal): SweepDocument
  /** Throws `invalid` for a grace time of a pass that removes things. */
  run(principal: Principal, request: SweepRequest): Promise<{ sweep: SweepReport }>
}

export const createSweeps = (sweep: Sweep): Sweeps => ({
  last(principal) {
    enforce(principal, 'ndo:sweep', 'admin')
    return { sweep: sweep.last() ?? null }
  },
  async run(principal, { dry_run, grace_seconds }) {
    enforce(principal, 'ndo:sweep', 'admin')
    if (dry_run !== true && grace_seconds !== undefined) {
      throw new DomainError(
        'invalid',
        'grace_seconds is for a dry run only: add "dry_run": true, or leave it out.',
      )
    }
    const graceSeconds = grace_seconds === undefined ? {} : { graceSeconds: grace_seconds }
    return { sweep: await sweep.run(dry_run === true ? { dryRun: true, ...graceSeconds } : {}) }
  },
})
