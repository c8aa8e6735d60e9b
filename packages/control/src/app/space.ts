import { messageOf } from '@volant/contract'
import { placeKey } from '../domain/aggregate-space.ts'
import type { AggregatePlace } from '../domain/volume.ts'
import type { Backend, PoolSpace } from '../ports/backend.ts'

export interface KnownSpace extends PoolSpace {
  /** Why it is not known; then all figures are 0. */
  down?: string
}

export interface Spaces {
  now(place: AggregatePlace): Promise<KnownSpace>
  /** Perhaps some seconds old: quick however many images there are. */
  recent(place: AggregatePlace): Promise<KnownSpace>
}

/** Milliseconds for which a figure is as good as new, and for which it may be used while it is brought up to date. */
const freshMs = 1000
const usableMs = 15_000

/**
 * The space of aggregates. A node counts the bytes of every image to tell that of a folder, which takes long where it has
 * many. A burst of new volumes is placed by one count, whatever FlexVols of the aggregate they are for; the volumes
 * promised meanwhile are in the database.
 */
export function createSpaces(backend: Pick<Backend, 'spaceAt'>): Spaces {
  const known = new Map<string, { space: KnownSpace; at: number }>()
  const running = new Map<string, Promise<KnownSpace>>()
  const count = async (place: AggregatePlace): Promise<KnownSpace> => {
    const key = placeKey(place)
    try {
      const space = await backend.spaceAt(place)
      known.set(key, { space, at: performance.now() })
      return space
    } catch (error) {
      known.delete(key)
      return { totalBytes: 0, usedBytes: 0, freeBytes: 0, down: messageOf(error) }
    } finally {
      running.delete(key)
    }
  }
  const now = (place: AggregatePlace): Promise<KnownSpace> => {
    const counting = running.get(placeKey(place)) ?? count(place)
    running.set(placeKey(place), counting)
    return counting
  }
  const recent = async (place: AggregatePlace): Promise<KnownSpace> => {
    const last = known.get(placeKey(place))
    const age = last === undefined ? Number.POSITIVE_INFINITY : performance.now() - last.at
    if (last === undefined || age > usableMs) return now(place)
    if (age > freshMs) void now(place)
    return last.space
  }
  return { now, recent }
}
