import type { AggregatePlace } from './volume.ts'

export const placeKey = ({ node, aggregate }: AggregatePlace): string => `${node}/${aggregate}`

/** Bytes. */
export interface Space {
  totalBytes: number
  usedBytes: number
  /** What can still be written, reservations not yet taken off. */
  freeBytes: number
}

/** What can still be promised of an aggregate, in bytes. */
export const availableBytes = (space: Pick<Space, 'freeBytes'>, reservedBytes: number): number =>
  Math.max(0, space.freeBytes - reservedBytes)

/** A FlexVol that may not fill its aggregate. Bytes. */
export interface FlexVolLimit {
  sizeBytes: number
  /** What its images occupy, wherever they are, and what is held back for it. */
  usedBytes: number
}

/**
 * The space of a pool, in bytes: its aggregate's, of which all FlexVols there promise, and its own limit where it has
 * one.
 */
export function poolSpace(
  space: Pick<Space, 'totalBytes' | 'freeBytes'>,
  reservedBytes: number,
  limit: FlexVolLimit | null,
): { totalBytes: number; freeBytes: number } {
  const freeBytes = availableBytes(space, reservedBytes)
  if (limit === null) return { totalBytes: space.totalBytes, freeBytes }
  return {
    totalBytes: Math.min(space.totalBytes, limit.sizeBytes),
    freeBytes: Math.max(0, Math.min(freeBytes, limit.sizeBytes - limit.usedBytes)),
  }
}
