import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Waits in a test until something holds. It looks every millisecond at first, ever less often later, and once more when
 * the time is over. Throws what did not come true.
 */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  timeoutMs = 30_000,
): Promise<void> {
  const began = performance.now()
  for (;;) {
    const passedMs = performance.now() - began
    if (await holds()) return
    if (passedMs >= timeoutMs) throw new Error(`not in ${timeoutMs / 1000} s: ${what}`)
    await sleep(Math.min(20, Math.max(1, passedMs / 20)))
  }
}
