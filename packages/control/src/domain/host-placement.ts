/**
 * Which server goes where when a compute host is emptied. The largest is placed first: what is placed later then still
 * finds room. It is also begun first: the time until the last one has left is shortest when the longest does not
 * begin last. Where the simple ways leave somebody behind, others are tried, up to a bound.
 */
export interface Passenger {
  id: string
  name: string
  memoryMib: number
  vcpus: number
  /** Servers of one affinity group go together, or not at all; null: it goes alone. */
  together: Bond | null
  /** Servers of one anti-affinity group: how many of them may share a host, and how many are on it already. */
  apart: (Bond & { atMost: number; there(host: string): number }) | null
  /** Why it can't be on a host, by the host's name; absent or null: it can, where there is room. */
  refusals: ReadonlyMap<string, string | null>
}

/** A server group, by its name and by what tells it from others of the same name. */
interface Bond {
  name: string
  key: string
}

export interface Room {
  host: string
  freeMemoryMib: number
  freeVcpus: number
}

export interface Seating {
  /** Hosts by the passenger's id. */
  to: Map<string, string>
  /** Why the others find no place, by their ids. */
  stuck: Map<string, string>
}

/** Passengers that go to one host together. */
interface Party {
  members: Passenger[]
  memoryMib: number
  vcpus: number
}

interface Free extends Room {
  /** How many of each anti-affinity group were put there. */
  groups: Map<string, number>
}

/** Steps of the search for a better seating: some milliseconds. */
const searchSteps = 20_000

const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

export const largestFirst = (
  a: { memoryMib: number; name: string },
  b: { memoryMib: number; name: string },
): number => b.memoryMib - a.memoryMib || byName(a.name, b.name)

export function seat(passengers: readonly Passenger[], rooms: readonly Room[]): Seating {
  const parties = partiesOf(passengers)
  const emptiest = greedy(parties, rooms, (a, b) => b.freeMemoryMib - a.freeMemoryMib)
  if (emptiest.size === parties.length) return seatingOf(parties, rooms, emptiest)
  const fullest = greedy(parties, rooms, (a, b) => a.freeMemoryMib - b.freeMemoryMib)
  const best = better(emptiest, fullest)
  if (best.size === parties.length) return seatingOf(parties, rooms, best)
  return seatingOf(parties, rooms, better(best, search(parties, rooms)))
}

type Choice = Map<Party, string>

const seats = (choice: Choice): number => [...choice.keys()].reduce((sum, one) => sum + one.members.length, 0)
const better = (a: Choice, b: Choice): Choice => (seats(b) > seats(a) ? b : a)

function partiesOf(passengers: readonly Passenger[]): Party[] {
  const grouped = Map.groupBy(passengers, ({ id, together }) =>
    together === null ? `alone/${id}` : `group/${together.key}`,
  )
  return [...grouped.values()]
    .map((members) => ({
      members,
      memoryMib: members.reduce((sum, one) => sum + one.memoryMib, 0),
      vcpus: members.reduce((sum, one) => sum + one.vcpus, 0),
    }))
    .toSorted((a, b) => largestFirst({ ...a, name: nameOf(a) }, { ...b, name: nameOf(b) }))
}

const nameOf = ({ members }: Party): string => members[0]?.name ?? ''

const open = (rooms: readonly Room[]): Free[] => rooms.map((room) => ({ ...room, groups: new Map() }))

/** Why the party can't be there; undefined: it can. */
function against(party: Party, room: Free): string | undefined {
  for (const { refusals, apart } of party.members) {
    const refusal = refusals.get(room.host) ?? null
    if (refusal !== null) return refusal
    if (apart === null) continue
    if (apart.there(room.host) + (room.groups.get(apart.key) ?? 0) >= apart.atMost) {
      return `has, or gets, another server of group '${apart.name}' (anti-affinity)`
    }
  }
  const name = party.members.length > 1 ? party.members[0]?.together?.name : undefined
  return roomRefusal(party, room, name === undefined ? '' : ` for all of group '${name}'`)
}

/** Where there is too little room; undefined: there is enough. To be read after the host's name. */
export function roomRefusal(
  wanted: Pick<Passenger, 'memoryMib' | 'vcpus'>,
  room: Omit<Room, 'host'>,
  whole = '',
): string | undefined {
  if (wanted.memoryMib > room.freeMemoryMib) {
    return `has ${room.freeMemoryMib} MiB free after the others, ${wanted.memoryMib}${whole} are needed`
  }
  return wanted.vcpus > room.freeVcpus
    ? `has ${room.freeVcpus} vCPUs free after the others, ${wanted.vcpus}${whole} are needed`
    : undefined
}

function take(party: Party, room: Free, sign: 1 | -1): void {
  room.freeMemoryMib -= sign * party.memoryMib
  room.freeVcpus -= sign * party.vcpus
  for (const { apart } of party.members) {
    if (apart !== null) room.groups.set(apart.key, (room.groups.get(apart.key) ?? 0) + sign)
  }
}

function greedy(
  parties: readonly Party[],
  rooms: readonly Room[],
  prefer: (a: Free, b: Free) => number,
): Choice {
  const free = open(rooms)
  const choice: Choice = new Map()
  for (const party of parties) {
    const room = free
      .toSorted((a, b) => prefer(a, b) || byName(a.host, b.host))
      .find((one) => against(party, one) === undefined)
    if (room === undefined) continue
    take(party, room, 1)
    choice.set(party, room.host)
  }
  return choice
}

/** Depth first, the largest first; the best that was found when the steps are used up. */
function search(parties: readonly Party[], rooms: readonly Room[]): Choice {
  const free = open(rooms)
  const choice: Choice = new Map()
  let best: Choice = new Map()
  let steps = 0
  const go = (index: number): boolean => {
    if (seats(choice) > seats(best)) best = new Map(choice)
    const party = parties[index]
    if (party === undefined) return choice.size === parties.length
    for (const room of free) {
      if (++steps > searchSteps) return true
      if (against(party, room) !== undefined) continue
      take(party, room, 1)
      choice.set(party, room.host)
      const done = go(index + 1)
      take(party, room, -1)
      choice.delete(party)
      if (done) return true
    }
    return go(index + 1)
  }
  go(0)
  return best
}

function seatingOf(parties: readonly Party[], rooms: readonly Room[], choice: Choice): Seating {
  const free = open(rooms)
  const seating: Seating = { to: new Map(), stuck: new Map() }
  for (const [party, host] of choice) {
    const room = free.find((one) => one.host === host)
    if (room !== undefined) take(party, room, 1)
    for (const { id } of party.members) seating.to.set(id, host)
  }
  for (const party of parties.filter((one) => !choice.has(one))) {
    const reasons = free.map(
      (room) => `${room.host} ${against(party, room) ?? 'has room only without the others'}`,
    )
    const reason =
      reasons.length === 0 ? 'there is no other compute host' : `no host can take it: ${reasons.join('; ')}`
    for (const { id } of party.members) seating.stuck.set(id, reason)
  }
  return seating
}
