import { placeText } from './aggregate-name.ts'
import { gib, type AggregatePlace } from './volume.ts'

/**
 * Which FlexVol goes where when aggregates are emptied. A FlexVol moves as a whole, within its cluster. The largest is
 * placed first, and each where the most is free: what is placed later then still finds room, and the load is spread.
 */
export interface VacateFacts {
  /** What is to be emptied, all of one cluster. */
  vacated: readonly AggregatePlace[]
  /** FlexVols that are there, or on their way to there. */
  flexvols: readonly VacateFlexVol[]
  /** The cluster's other aggregates that may be used. */
  targets: readonly VacateTarget[]
}

export interface VacateFlexVol {
  id: string
  name: string
  at: AggregatePlace
  /** Where it is moving to already, and by which operation. */
  destination: AggregatePlace | null
  moveId: string | null
  /** Bytes on the disks, shared blocks once. */
  uniqueBytes: number
  /** The sum of what each image occupies: what a copy takes where blocks can't be shared. */
  allocatedBytes: number
  /** Its blocks can be shared where it is. */
  sharesBlocks: boolean
  /** Why it can't move, whatever the aggregate; null: nothing is known against it. */
  blocked: string | null
}

export interface VacateTarget {
  place: AggregatePlace
  /** Reservations are taken off. */
  freeBytes: number
  sharesBlocks: boolean
  /** Why nothing may be placed there; null: it may. */
  unusable: string | null
}

export interface PlannedMove {
  flexvol: VacateFlexVol
  to: AggregatePlace
  /** That will be copied. */
  bytes: number
  /** The move that brings it there already. */
  underWay: string | null
}

export interface VacatePlacement {
  /** In the order in which they should begin. */
  moves: PlannedMove[]
  stuck: { flexvol: VacateFlexVol; bytes: number; reason: string }[]
  /** The targets that may be used, and what is free there when all is done. */
  targets: (VacateTarget & { freeAfterBytes: number })[]
}

export const samePlace = (a: AggregatePlace, b: AggregatePlace): boolean =>
  a.node === b.node && a.aggregate === b.aggregate

/** What the FlexVol takes on a target. Which blocks its images share only their own node can tell. */
const bytesOn = (flexvol: VacateFlexVol, { place, sharesBlocks }: VacateTarget): number =>
  flexvol.sharesBlocks && sharesBlocks && place.node === flexvol.at.node
    ? flexvol.uniqueBytes
    : flexvol.allocatedBytes

export function planVacate({ vacated, flexvols, targets }: VacateFacts): VacatePlacement {
  const isVacated = (place: AggregatePlace): boolean => vacated.some((one) => samePlace(one, place))
  const usable = targets
    .filter((target) => target.unusable === null && !isVacated(target.place))
    .map((target) => ({ ...target, freeAfterBytes: target.freeBytes }))
  const placement: VacatePlacement = { moves: [], stuck: [], targets: usable }
  for (const flexvol of flexvols.toSorted(largestFirst)) {
    const { destination, moveId } = flexvol
    const stuck = (reason: string): void => {
      placement.stuck.push({ flexvol, bytes: flexvol.uniqueBytes, reason })
    }
    if (destination !== null && isVacated(destination)) {
      stuck(
        `it is moving to ${placeText(destination)}; cancel that first: volant move cancel ${flexvol.name}`,
      )
    } else if (destination !== null) {
      // What it still takes there is reserved already.
      placement.moves.push({ flexvol, to: destination, bytes: flexvol.uniqueBytes, underWay: moveId ?? '' })
    } else if (flexvol.blocked !== null) {
      stuck(flexvol.blocked)
    } else {
      const target = usable.toSorted(emptiestFirst).find((one) => bytesOn(flexvol, one) <= one.freeAfterBytes)
      if (target === undefined) {
        stuck(noRoom(flexvol, vacated, targets, usable))
        continue
      }
      const bytes = bytesOn(flexvol, target)
      target.freeAfterBytes -= bytes
      placement.moves.push({ flexvol, to: target.place, bytes, underWay: null })
    }
  }
  return placement
}

const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

const largestFirst = (a: VacateFlexVol, b: VacateFlexVol): number =>
  b.uniqueBytes - a.uniqueBytes || byName(a.name, b.name)

const emptiestFirst = (
  a: { freeAfterBytes: number; place: AggregatePlace },
  b: { freeAfterBytes: number; place: AggregatePlace },
): number => b.freeAfterBytes - a.freeAfterBytes || byName(placeText(a.place), placeText(b.place))

const amount = (bytes: number): string => `${(bytes / gib).toFixed(2)} GiB`

/** What is missing, and where the least is. */
function noRoom(
  flexvol: VacateFlexVol,
  vacated: readonly AggregatePlace[],
  all: readonly VacateTarget[],
  usable: readonly (VacateTarget & { freeAfterBytes: number })[],
): string {
  if (usable.length === 0) {
    const why = all.map((one) => `${placeText(one.place)}: ${one.unusable ?? 'it is to be emptied, too'}`)
    if (why.length > 0) return `no other aggregate can be used (${why.join('; ')})`
    return vacated.length > 1
      ? `the cluster has no aggregate besides those that are to be emptied (${vacated.map(placeText).join(', ')})`
      : 'the cluster has no other aggregate'
  }
  const found = usable.toSorted(emptiestFirst).map((one) => {
    const missing = bytesOn(flexvol, one) - one.freeAfterBytes
    const before = one.freeBytes - one.freeAfterBytes
    const others = before > 0 ? ` after the others (${amount(before)})` : ''
    return `${placeText(one.place)} has ${amount(one.freeAfterBytes)} free${others}, ${amount(missing)} too little`
  })
  return `no aggregate has room for it: ${found.join('; ')}`
}
