/** What users do with the FlexVol while it moves, drawn by a seed. Everything they ask for must be done. */
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '@volant/contract/errors.ts'
import {
  attachAndWrite,
  detach,
  digestNow,
  newVolume,
  serialOf,
  takeSnapshot,
  type Snapshot,
  type Volume,
} from './cast.ts'
import type { Place } from './place.ts'
import type { Users } from './users.ts'

/** 0 to 1, the same for the same seed (mulberry32, public domain). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export interface Life {
  place: Place
  users: Users
  /** Those that are there from the beginning to the end; they are snapshotted, extended, detached and attached again. */
  cast: Volume[]
  /** Those that come and go. */
  extras: Volume[]
  random(): number
  problems: string[]
  say(text: string): void
}

const mostExtras = 5
const mostSnapshots = 4
/** GiB. */
const largest = 4

/** Deed after deed until `over`; none is broken off. */
export async function live(life: Life, over: () => boolean): Promise<void> {
  while (!over()) {
    const possible = deeds.flatMap((deed) => {
      const candidates = deed.on(life)
      return candidates.length === 0 ? [] : [{ deed, candidates }]
    })
    const chosen = pick(life, possible)
    if (chosen === undefined) return
    const volume = pick(life, chosen.candidates) as Volume
    const { name } = chosen.deed
    const began = performance.now()
    try {
      await chosen.deed.do(life, volume)
      life.say(`  ${name} ${volume.name}: ${(performance.now() - began).toFixed(0)} ms`)
    } catch (error) {
      life.problems.push(`${name} ${volume.name} (${volume.id}): ${messageOf(error)}`)
      life.say(`  ${name} ${volume.name} FAILED: ${messageOf(error)}`)
      // What it is like now is not known.
      life.extras = life.extras.filter((one) => one !== volume)
      life.cast = life.cast.filter((one) => one !== volume)
    }
    await sleep(100 + 400 * life.random())
  }
}

const pick = <T>({ random }: Life, from: readonly T[]): T | undefined =>
  from[Math.floor(random() * from.length)]

interface Deed {
  name: string
  /** The volumes that it can be done to now. */
  on(life: Life): Volume[]
  do(life: Life, volume: Volume): Promise<void>
}

const all = ({ cast, extras }: Life): Volume[] => [...cast, ...extras]
const isIdle = ({ guest }: Volume): boolean => guest === null
const newestOf = ({ snapshots }: Volume): Snapshot | undefined => snapshots.at(-1)

/** A volume that holds what another one held. */
async function copyOf(
  life: Life,
  source: Volume,
  digest: string,
  from: { snapshot_id: string } | { source_volid: string },
): Promise<void> {
  const name = `extra-${life.extras.length}-of-${source.name}`
  const volume = newVolume(await life.users.create({ name, size: source.size, ...from }), name, source.size)
  volume.inherited = [...source.inherited, serialOf(source)]
  volume.digest = digest
  if ((await digestNow(life.place, 'volume', volume.id)) !== digest) {
    throw new Error(`it does not hold what ${JSON.stringify(from)} holds`)
  }
  life.extras.push(volume)
}

const deeds: readonly Deed[] = [
  {
    name: 'create a volume',
    on: (life) => (life.extras.length < mostExtras ? life.cast.slice(0, 1) : []),
    async do(life) {
      const name = `extra-${life.extras.length}`
      const volume = newVolume(await life.users.create({ name, size: 1 }), name, 1)
      volume.digest = await digestNow(life.place, 'volume', volume.id)
      life.extras.push(volume)
    },
  },
  {
    name: 'create a volume from a snapshot',
    on: (life) => (life.extras.length < mostExtras ? all(life).filter((v) => v.snapshots.length > 0) : []),
    async do(life, volume) {
      const { id, digest } = newestOf(volume) as Snapshot
      await copyOf(life, volume, digest, { snapshot_id: id })
    },
  },
  {
    name: 'create a volume from a volume',
    on: (life) => (life.extras.length < mostExtras ? all(life).filter(isIdle) : []),
    do: (life, volume) => copyOf(life, volume, volume.digest, { source_volid: volume.id }),
  },
  {
    name: 'take a snapshot',
    on: (life) =>
      all(life).filter((v) => v.snapshots.length < mostSnapshots && !(v.reverted && v.guest !== null)),
    async do(life, volume) {
      await takeSnapshot(life.place, life.users, volume)
    },
  },
  {
    name: 'delete a snapshot',
    on: (life) => all(life).filter((v) => v.snapshots.length > 1),
    async do(life, volume) {
      const gone = pick(life, volume.snapshots) as Snapshot
      volume.snapshots = volume.snapshots.filter((one) => one !== gone)
      await life.users.removeSnapshot(gone.id)
    },
  },
  {
    name: 'extend a volume',
    on: (life) => all(life).filter(({ size }) => size < largest),
    async do(life, volume) {
      await life.users.extend(volume.id, volume.size + 1, volume.guest !== null)
      volume.size++
    },
  },
  {
    name: 'attach a volume',
    on: (life) => life.extras.filter((v) => isIdle(v) && !v.reverted),
    do: (life, volume) =>
      attachAndWrite(life.place, life.users, volume, pick(life, life.place.guests) as never),
  },
  {
    name: 'detach a volume',
    on: (life) => life.extras.filter((v) => !isIdle(v)),
    do: (life, volume) => detach(life.place, life.users, volume),
  },
  {
    name: 'detach and attach a volume',
    on: (life) => life.cast.filter((v) => !isIdle(v)),
    async do(life, volume) {
      const { guest } = volume
      await detach(life.place, life.users, volume)
      if (guest !== null) await attachAndWrite(life.place, life.users, volume, guest)
    },
  },
  {
    name: 'revert a volume',
    on: (life) =>
      life.extras.filter((v) => {
        return isIdle(v) && v.snapshots.length > 0
      }),
    async do(life, volume) {
      const { id, digest } = newestOf(volume) as Snapshot
      await life.users.revert(volume.id, id)
      volume.reverted = true
      volume.digest = digest
      if ((await digestNow(life.place, 'volume', volume.id)) !== digest) {
        throw new Error(`it does not hold what its snapshot ${id} holds`)
      }
    },
  },
  {
    name: 'delete a volume',
    on: (life) => life.extras.filter((v) => isIdle(v) && v.snapshots.length === 0),
    async do(life, volume) {
      await life.users.remove(volume.id)
      life.extras = life.extras.filter((one) => one !== volume)
    },
  },
]
