import type { ImageCopyStatus } from '@volant/contract'

/** What is known of a copy from one look to the next. */
export interface CopyProgress {
  /** How often it began anew. */
  restarts: number
  /** The first look since then: milliseconds. */
  firstAt: number | null
  /** The look before: milliseconds, bytes. */
  at: number | null
  doneBytes: number
  /** Bytes per second, smoothed over some looks. */
  rateBps: number
  /** The limit that it was given last, where its agent does not tell; absent: none yet. Bytes per second. */
  rateSet?: number
}

export const newCopyProgress = (): CopyProgress => ({
  restarts: 0,
  firstAt: null,
  at: null,
  doneBytes: 0,
  rateBps: 0,
})

/** How much of a new sample counts. */
const weight = 0.3

/** Pure: the look before and this one. */
export function seenAt(
  before: CopyProgress,
  status: Pick<ImageCopyStatus, 'phase' | 'doneBytes'>,
  now: number,
): CopyProgress {
  const lost = status.phase === 'absent' || status.phase === 'failed'
  // A copy that begins anew has the rate that it is started with.
  const kept = lost || before.rateSet === undefined ? {} : { rateSet: before.rateSet }
  const restarts = before.restarts + (lost ? 1 : 0)
  const firstAt = lost ? now : (before.firstAt ?? now)
  if (before.at === null || lost || status.doneBytes < before.doneBytes || now <= before.at) {
    return { ...kept, restarts, firstAt, at: now, doneBytes: status.doneBytes, rateBps: before.rateBps }
  }
  const sample = ((status.doneBytes - before.doneBytes) * 1000) / (now - before.at)
  const rateBps = before.rateBps === 0 ? sample : before.rateBps * (1 - weight) + sample * weight
  return { ...kept, restarts, firstAt, at: now, doneBytes: status.doneBytes, rateBps: Math.round(rateBps) }
}
