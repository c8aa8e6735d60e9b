import type { Executor } from '@volant/saga'
import type { Logger } from 'pino'

/** A database that goes on failing is told again so often, and not at each attempt. Milliseconds. */
const remindEveryMs = 30_000

/** Failures of operations go to the log with all they carry; a control plane that was replaced ends. */
export function logEngine(executor: Executor, log: Logger): void {
  let toldAtMs = 0
  executor.onEvent((event) => {
    if (event.type === 'call-failed') {
      log.warn(
        { operationId: event.runId, step: event.step, err: event.error },
        'a step of an operation failed',
      )
    } else if (event.type === 'store-failed') {
      const { attempts, failedForMs, error } = event
      if (attempts > 1 && failedForMs - toldAtMs < remindEveryMs) return
      toldAtMs = failedForMs
      const waiting = executor.storeTrouble?.waiting
      log.error(
        { err: error, attempts, failedForMs, waiting },
        'the database does not take a write; trying again',
      )
    } else if (event.type === 'store-recovered') {
      const { attempts, failedForMs } = event
      log.info({ attempts, failedForMs }, 'the database takes writes again')
    } else if (event.type === 'broken') {
      log.error(
        { operationId: event.runId, err: event.error },
        'an operation met a fault of our own; it needs attention, or a restart',
      )
    } else if (event.type === 'fenced') {
      log.fatal({ err: event.error }, 'another control plane has taken over; this one ends')
      process.kill(process.pid, 'SIGTERM')
    }
  })
}
