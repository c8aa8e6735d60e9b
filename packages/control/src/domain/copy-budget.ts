/** What copies that share something have of it. Pure. */
import { mayUse, stepBytes } from './copy-use.ts'

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

/** A copy that shares a disk with others. */
export interface Going {
  id: string
  weight: number
  /** Its limit; Infinity: it has none. Bytes per second. */
  rateBps: number
  /** What it gets through; null: unknown, it may be all that it is given. Bytes per second. */
  usedBps: number | null
}

/** A copy that uses so much of its limit is held back by that. */
const heldBack = 0.7
/** What a copy that is not is reckoned to have, as a share of what it uses. */
const had = 1.15

/**
 * The part of one by weight of what all of them have together; null where it is alone, or one of them has no limit. What a limit
 * gives and the disk does not is nothing that anybody has: where all limits are above what the disk can do it would share itself out,
 * and it knows no weights.
 */
export function fairPart(id: string, sharers: readonly Going[]): number | null {
  if (sharers.length < 2 || sharers.some(({ rateBps }) => rateBps === Infinity)) return null
  const all = sharers.reduce(
    (sum, { rateBps, usedBps }) =>
      sum + (usedBps === null ? rateBps : Math.min(rateBps, usedBps * had + stepBytes)),
    0,
  )
  const wants = sharers.map(({ id: one, weight, rateBps, usedBps }) => {
    const isHeldBack = usedBps === null || usedBps >= rateBps * heldBack
    return { id: one, weight, wantBps: isHeldBack ? Infinity : mayUse(usedBps) }
  })
  return shareOut(all, wants).get(id) ?? null
}
