import type { GuestState } from '@volant/contract'
import type { QmpClient } from '@volant/qemu'
import type { RunState } from './monitor.ts'

/** A guest that still boots misses its power button. */
const askAgainMs = 5000

const passed = (ms: number): Promise<false> =>
  new Promise((resolve) => {
    setTimeout(() => resolve(false), ms).unref()
  })

/** Presses the guest's power button until it has powered off or `graceMs` are over. */
export const askToPowerOff = async (qmp: QmpClient, graceMs: number): Promise<void> => {
  const end = performance.now() + graceMs
  const off = qmp.expect('SHUTDOWN', () => true, graceMs)
  const settled = off.event.then(
    () => true,
    () => true,
  )
  try {
    for (let left = graceMs; left > 0; left = end - performance.now()) {
      await qmp.execute('system_powerdown')
      if (await Promise.race([settled, passed(Math.min(askAgainMs, left))])) return
    }
  } finally {
    off.cancel()
  }
}

export interface StateContext {
  pausedByUser: boolean
  /** The storage fault that paused the guest, as its monitor saw it. */
  fault: string | undefined
  /** A soft reboot is under way, in which the guest powers off for a moment. */
  rebooting: boolean
  /** A live migration to another host is under way, or was given up and not abandoned yet. */
  migrating: boolean
}

/** Run states in which a guest does nothing until it is continued: paused, received, or left as it was sent. */
export const standsStill = (runState: RunState): boolean => ['paused', 'postmigrate'].includes(runState)

/** What a run state of QEMU means for the server. */
export const stateOf = (
  runState: RunState,
  { pausedByUser, fault, rebooting, migrating }: StateContext,
): { state: GuestState; reason?: string } => {
  switch (runState) {
    case 'running':
      return { state: 'running' }
    case 'io-error':
      return pausedByUser
        ? { state: 'paused' }
        : { state: 'paused-io-error', reason: fault ?? 'its storage failed' }
    case 'shutdown':
      return { state: rebooting ? 'running' : 'stopped' }
    case 'paused':
      return { state: 'paused' }
    case 'finish-migrate':
    case 'postmigrate':
      if (pausedByUser || !migrating) return { state: 'paused' }
      return { state: 'paused', reason: 'it stands still for its live migration' }
    default:
      return { state: 'paused', reason: `QEMU reports "${runState}"` }
  }
}
