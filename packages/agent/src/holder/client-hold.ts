import { messageOf } from '@volant/contract'
import type { ClientProcess } from '@volant/contract'
import { holdProcess } from '@volant/qemu/client-hold.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../daemon/log.ts'

/** How long a cutover is tried without touching the client, and how long the client is left alone between two holds. */
const aloneMs = 1000
/** What one hold may take at most: short ones first. In it the requests in flight end, and are copied once more. */
const holdsMs = [20, 50, 100, 200, 400]

/**
 * Waits for `event`, the end of a mirror's completion. A background mirror ends only at a moment without a request in
 * flight, which a client with deep queues never has: no limit brings it about, for a request that waits in the throttle
 * filter is in flight. So the client is held from outside, again and again until the event comes or fails.
 * `heldSinceMs` (epoch) tells since when the client was held as it came.
 */
export async function settleWithHolds<T>(
  event: Promise<T>,
  client: ClientProcess | undefined,
  log: Log,
): Promise<{ result: T; heldSinceMs?: number }> {
  if (client === undefined) return { result: await event }
  let over = false
  const end = event.then(
    () => (over = true),
    () => (over = true),
  )
  for (let n = 0; ; n++) {
    await Promise.race([end, sleep(aloneMs)])
    if (over) return { result: await event }
    const heldSinceMs = Date.now()
    try {
      const hold = await holdProcess(client, holdsMs[Math.min(n, holdsMs.length - 1)] ?? 0)
      await Promise.race([end, hold.ended])
      const released = hold.release()
      // I/O is held by the daemon from here on: the client need not be.
      if (over) return { result: await event, heldSinceMs }
      await released
    } catch (error) {
      if (over) throw error
      log.warn({ pid: client.pid, reason: messageOf(error) }, 'the client of a cutover cannot be held')
      return { result: await event }
    }
  }
}
