/** The least and the longest time between the first looks at a copy, and for how long they come so soon. Milliseconds. */
const [soonestMs, latestMs, untilMs] = [20, 100, 1000]

/**
 * How long after a look at a copy the next one is due, in milliseconds; undefined: as ever. A small copy is over sooner than
 * the next look of a large one comes, and what waits for its end would be most of its time; so at first one is looked
 * at after a quarter of the time that it has taken so far.
 */
export function nextLookMs(sinceMs: number): number | undefined {
  if (sinceMs >= untilMs) return undefined
  return Math.round(Math.min(latestMs, Math.max(soonestMs, sinceMs / 4)))
}
