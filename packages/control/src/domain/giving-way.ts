/**
 * Kinds of operations that give way: parts of the move of a FlexVol, one image each. Users come first: what they ask
 * for ends such a part before its commit, and the move takes that image up again later.
 */
export const givingWay = ['volume.relocate', 'image.relocate'] as const

export const givesWay = (kind: string): boolean => (givingWay as readonly string[]).includes(kind)

/** Whether the operation that holds a key is one that has to be waited for, or refuses what is asked for. */
export const isInTheWay = <T extends { kind: string }>(holder: T | undefined): holder is T =>
  holder !== undefined && !givesWay(holder.kind)
