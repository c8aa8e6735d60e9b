import { setTimeout as sleep } from 'node:timers/promises'

const shortestMs = 20
const longestMs = 250

/**
 * Between two looks at what is waited for: a tenth of the time that it has taken so far, 20 to 250 ms. On two cores a look, with
 * its request and its answer, delays what it looks for.
 */
export const nextLook = (began: number): Promise<void> =>
  sleep(Math.min(longestMs, Math.max(shortestMs, (performance.now() - began) / 10)))
