/** What a copy got through of late, as it was seen at its looks, oldest first. */
export type CopyUse = readonly {
  /** Milliseconds. */
  at: number
  doneBytes: number
  /** What of it was data; undefined: not known. */
  movedBytes: number | undefined
}[]

/** It is told of so long: two looks or three. Milliseconds. */
const usedMs = 600
const mib = 1024 ** 2

/** With one more look. What was seen of a copy that has begun anew since is forgotten. */
export const withUse = (use: CopyUse, seen: CopyUse[number]): CopyUse => [
  ...use.filter(({ at, doneBytes }) => seen.at - at <= usedMs && doneBytes <= seen.doneBytes),
  seen,
]

/** What it uses of its rate; null: it was not looked at for `leastMs` yet. Bytes per second. */
export function usedOf(use: CopyUse, rateBps: number, leastMs: number): number | null {
  const [first, last] = [use[0], use.at(-1)]
  if (first === undefined || last === undefined || last.at - first.at < leastMs) return null
  const seconds = (last.at - first.at) / 1000
  const done = (last.doneBytes - first.doneBytes) / seconds
  // Holes are passed at any speed: what was moved says more, where it is known, and that nothing was says that, too.
  if (first.movedBytes === undefined || last.movedBytes === undefined) return Math.min(done, rateBps)
  return Math.min(done, (last.movedBytes - first.movedBytes) / seconds)
}

/** What a mirror asks for at once may be done between two looks: one that is slow does nothing in between, and wants as much. Bytes per second. */
export const stepBytes = 8 * mib

/** What one may come to use that is not held back: not more than half as much again as it uses now. Bytes per second. */
export const mayUse = (usedBps: number): number => usedBps * 1.5 + stepBytes

/** What it would use of a budget, and never nothing. Bytes per second. */
export function wantOf(use: CopyUse, rateBps: number, leastMs: number): number {
  const used = usedOf(use, rateBps, leastMs)
  return Math.max(mib, Math.min(rateBps, used === null ? Infinity : mayUse(used)))
}
