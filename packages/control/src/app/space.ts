import { messageOf } from '@volant/contract'
import { placeKey, poolSpace, type Space } from '../domain/aggregate-space.ts'
import { placeForNew, type AggregatePlace, type FlexVol } from '../domain/volume.ts'
import type { AggregateContents } from '../ports/aggregate-contents.ts'
import type { Backend } from '../ports/backend.ts'
import type { CopyRecords } from '../ports/records.ts'

/** What is asked anew, and what may be some seconds old: quick however many images there are. */
export type Freshness = 'now' | 'recent'

/** Milliseconds for which a figure is as good as new, and for which it may be used while it is brought up to date. */
const freshMs = 1000
const usableMs = 15_000

/**
 * Answers that take long, such as those of a node that counts the bytes of every image. Who asks while an answer is on
 * its way gets that one. What failed is not remembered.
 */
function recently<Asked, Answer>(keyOf: (asked: Asked) => string, ask: (asked: Asked) => Promise<Answer>) {
  const known = new Map<string, { answer: Answer; at: number }>()
  const running = new Map<string, Promise<Answer>>()
  const askNow = async (asked: Asked): Promise<Answer> => {
    const key = keyOf(asked)
    try {
      const answer = await ask(asked)
      known.set(key, { answer, at: performance.now() })
      return answer
    } catch (error) {
      known.delete(key)
      throw error
    } finally {
      running.delete(key)
    }
  }
  const now = (asked: Asked): Promise<Answer> => {
    const asking = running.get(keyOf(asked)) ?? askNow(asked)
    running.set(keyOf(asked), asking)
    return asking
  }
  return async (asked: Asked, freshness: Freshness): Promise<Answer> => {
    const last = known.get(keyOf(asked))
    const age = last === undefined ? Number.POSITIVE_INFINITY : performance.now() - last.at
    if (freshness === 'now' || last === undefined || age > usableMs) return now(asked)
    if (age > freshMs) now(asked).catch(() => {}) // whoever asks next is told
    return last.answer
  }
}

/** The space of aggregates: one answer of a node's, whatever FlexVols of the aggregate it is for. */
export const createSpaces = (
  backend: Pick<Backend, 'spaceAt'>,
): ((place: AggregatePlace, freshness: Freshness) => Promise<Space>) => recently(placeKey, backend.spaceAt)

export interface PoolFigures {
  totalBytes: number
  /** What can still be promised. */
  freeBytes: number
  /** Why it is not known; then the figures are 0. */
  down?: string
}

/**
 * The space of FlexVols as pools, by their ids: the one place that tells it. What is free is free on the aggregate where
 * their new images are made, all that is held back there taken off, whoever holds it back.
 */
export type PoolSpaces = (
  flexvols: readonly FlexVol[],
  freshness: Freshness,
) => Promise<Map<string, PoolFigures>>

export function createPoolSpaces(sources: {
  backend: Pick<Backend, 'spaceAt' | 'usageAt'>
  contents: Pick<AggregateContents, 'reserved'>
  copies: Pick<CopyRecords, 'reservedBytes'>
}): PoolSpaces {
  const spaces = createSpaces(sources.backend)
  const usages = recently(
    ({ id, node, aggregate }: FlexVol & AggregatePlace) => `${id}/${placeKey({ node, aggregate })}`,
    async (flexvol) => (await sources.backend.usageAt(flexvol, flexvol)).uniqueBytes,
  )
  /** While it moves, what has been copied is on both of its aggregates, and is its users' once. */
  const usedBytes = async (flexvol: FlexVol, freshness: Freshness): Promise<number> => {
    const places = [flexvol, ...(flexvol.destination === null ? [] : [flexvol.destination])]
    const used = places.map(({ node, aggregate }) => usages({ ...flexvol, node, aggregate }, freshness))
    return Math.max(...(await Promise.all(used)))
  }
  return async (flexvols, freshness) => {
    const reserved = await sources.contents.reserved()
    const figures = flexvols.map(async (flexvol): Promise<[string, PoolFigures]> => {
      const { id, sizeBytes } = flexvol
      const place = placeForNew(flexvol)
      try {
        const space = await spaces(place, freshness)
        const limit =
          sizeBytes === null
            ? null
            : {
                sizeBytes,
                usedBytes: (await usedBytes(flexvol, freshness)) + (await sources.copies.reservedBytes(id)),
              }
        return [id, poolSpace(space, reserved.get(placeKey(place)) ?? 0, limit)]
      } catch (error) {
        return [id, { totalBytes: 0, freeBytes: 0, down: messageOf(error) }]
      }
    })
    return new Map(await Promise.all(figures))
  }
}
