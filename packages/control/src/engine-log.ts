import type { Executor } from '@volant/saga'
import type { Logger } from 'pino'

/** Failures of operations go to the log with all they carry; a control plane that was replaced ends. */
export function logEngine(executor: Executor, log: Logger): void {
  executor.onEvent((event) => {
    if (event.type === 'call-failed') {
      log.warn(
        { operationId: event.runId, step: event.step, err: event.error },
        'a step of an operation failed',
      )
    } else if (event.type === 'store-failed') {
      log.error(
        { operationId: event.runId, err: event.error },
        'the database did not take a write; trying again',
      )
    } else if (event.type === 'broken') {
      log.error(
        { operationId: event.runId, err: event.error },
        'an operation stands still until the next start',
      )
    } else if (event.type === 'fenced') {
      log.fatal({ err: event.error }, 'another control plane has taken over; this one ends')
      process.kill(process.pid, 'SIGTERM')
    }
  })
}
