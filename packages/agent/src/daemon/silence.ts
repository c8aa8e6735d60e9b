import { setTimeout as sleep } from 'node:timers/promises'
import { QmpClosed } from '@volant/qemu/qmp.ts'
import type { QmpClient } from '@volant/qemu/qmp.ts'

/** Milliseconds. */
export interface Patience {
  /** Between an answer and the next question. */
  every: number
  /** For a process that a signal has stopped: it does nothing by itself ever again. */
  stopped: number
  /**
   * For any other. Longer than the 60 s for which a storage node that is away may keep a monitor from answering while its
   * daemon serves its clients all the same (see `reconnectDelay`).
   */
  hung: number
}

export const patience: Patience = { every: 5000, stopped: 15_000, hung: 75_000 }

/**
 * Asks the daemon now and then whether it still answers. Returns for how long it has not (ms) once that is too long;
 * undefined when the connection has ended. Does not keep the process alive.
 */
export async function untilSilent(
  qmp: QmpClient,
  isStopped: () => boolean,
  { every, stopped, hung }: Patience = patience,
): Promise<number | undefined> {
  let answeredAt = performance.now()
  while (qmp.isOpen) {
    await sleep(every, undefined, { ref: false })
    try {
      await qmp.execute('query-jobs', {}, Math.min(stopped, hung))
      answeredAt = performance.now()
    } catch (error) {
      if (error instanceof QmpClosed) return undefined
      const silentMs = performance.now() - answeredAt
      if (silentMs >= (isStopped() ? stopped : hung)) return silentMs
    }
  }
  return undefined
}
