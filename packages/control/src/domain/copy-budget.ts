/** What copies that share something have of it. Pure. */

export interface Sharer {
  id: string
  /** How much of it counts, beside the others. */
  weight: number
  /** What it can use; Infinity: all that it gets. Bytes per second. */
  wantBps: number
}

/**
 * Everybody gets his part by weight; what one does not use the others have. Bytes per second, by id: where all of it is
 * used the sum is `budgetBps`, and nobody has more than he wants where another one could use it.
 */
export function shareOut(budgetBps: number, sharers: readonly Sharer[]): Map<string, number> {
  const shares = new Map<string, number>()
  let open = [...sharers]
  let left = budgetBps
  while (open.length > 0) {
    const weights = open.reduce((sum, { weight }) => sum + weight, 0)
    const partOf = ({ weight }: Sharer): number => (left * weight) / weights
    const content = open.filter((sharer) => sharer.wantBps < partOf(sharer))
    if (content.length === 0) {
      for (const sharer of open) shares.set(sharer.id, partOf(sharer))
      break
    }
    for (const { id, wantBps } of content) shares.set(id, wantBps)
    left -= content.reduce((sum, { wantBps }) => sum + wantBps, 0)
    open = open.filter((sharer) => !content.includes(sharer))
  }
  return shares
}

/** The part of one by weight of what all of them have together; null where it is alone, or one of them has no limit. */
export function fairPart(
  id: string,
  sharers: readonly { id: string; weight: number; rateBps: number }[],
): number | null {
  const own = sharers.find((sharer) => sharer.id === id)
  const all = sharers.reduce((sum, { rateBps }) => sum + rateBps, 0)
  if (own === undefined || sharers.length < 2 || all === Infinity) return null
  return (all * own.weight) / sharers.reduce((sum, { weight }) => sum + weight, 0)
}
