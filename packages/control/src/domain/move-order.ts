/**
 * Which images of a moving FlexVol are to be moved next, and from what they need not be copied: pure, from what the
 * records say. The move keeps no list of its own; it looks again. docs/protocol/flexvol-move.md
 */
import { cutoverAttempts } from './flexvol-move.ts'
import type { ShareBase } from './relocation-part.ts'
import type { AggregatePlace, Copy } from './volume.ts'

/** Images that one node has under way at once, coming or going. ONTAP's governor has the same figure. */
export const referencesPerNode = 8

/** A part of the move, under way or ended. */
export interface MovePart {
  id: string
  /** `volume/ID` or `snapshot/ID`: whose image it moves. */
  key: string
  /** All that it locks: its base as well. */
  keys: readonly string[]
  state: 'under-way' | 'succeeded' | 'failed' | 'cancelled'
  /** It stands until a person acts. */
  needsAttention: boolean
  from: AggregatePlace
  to: AggregatePlace
  sourceImageId: string
  targetImageId: string
  /** Epoch milliseconds. */
  startedAt: number
  /** Epoch milliseconds; null: under way. */
  endedAt: number | null
  reason: string | null
  /** Cutovers that were given up. */
  cutoverFailures: number
  /** The target's `changeMark` when it became the truth, while nobody had it open; null: not known. */
  mark: string | null
  pauseMs: number | null
  /** It is copied, and waits to cut over. */
  inSync: boolean
  /** It is past its point of no return, or at it. */
  atCutover: boolean
  doneBytes: number
  totalBytes: number
  rateBps: number
}

/** The truth of a volume or a snapshot, or what is about to become one. */
export interface MoveImage {
  key: string
  volumeId: string
  snapshotId: string | null
  imageId: string
  place: AggregatePlace
  /** It is still being made: it moves when it is there. */
  isBeingMade: boolean
  /** A head has it open. */
  attached: boolean
  name: string | null
  /** Bytes that it occupies. */
  allocatedBytes: number
  /** Snapshots with which it shares blocks, the closest first. */
  ancestors: readonly string[]
}

export interface MoveFacts {
  /** Where the images belong. */
  at: AggregatePlace
  /** Blocks can be shared at both ends, and what is shared at one end can be told. */
  shares: boolean
  /** Snapshots first, the oldest first. */
  images: readonly MoveImage[]
  /** Kept copies of the FlexVol's images. */
  retained: readonly Copy[]
  /** All of this move, newest first. */
  parts: readonly MovePart[]
  /** Of parts of other moves: how many each node has under way. */
  otherReferences: ReadonlyMap<string, number>
  /** Cutovers are held until somebody triggers them. */
  held: boolean
  /** Epoch milliseconds. */
  now: number
}

export interface NextImage {
  image: MoveImage
  base: ShareBase | null
  /** The copy that is made the truth again; null: it is copied. */
  kept: { imageId: string; mark: string | null } | null
}

export interface MoveOrder {
  start: NextImage[]
  /** Everything is where it belongs, and nothing is under way. */
  done: boolean
}

export const isAt = (one: AggregatePlace, other: AggregatePlace): boolean =>
  one.node === other.node && one.aggregate === other.aggregate

const underWay = (parts: readonly MovePart[]): MovePart[] =>
  parts.filter((part) => part.state === 'under-way')

/** What is next, as many as may be under way at once. */
export function nextImages(facts: MoveFacts): MoveOrder {
  const away = facts.images.filter((image) => !isAt(image.place, facts.at))
  const going = underWay(facts.parts)
  const references = referencesOf(facts, going)
  // Two parts that need the same base go one after the other.
  const locked = new Set(going.flatMap(({ keys }) => keys))
  const start: NextImage[] = []
  for (const image of away) {
    if (image.isBeingMade || locked.has(image.key)) continue
    if (retryAt(partsFor(facts.parts, image.key)) > facts.now) continue
    const nodes = [...new Set([image.place.node, facts.at.node])]
    if (nodes.some((node) => (references.get(node) ?? 0) >= referencesPerNode)) continue
    const base = baseOf(facts, image)
    if (base === 'wait' || (base !== null && locked.has(`snapshot/${base.snapshotId}`))) continue
    for (const node of nodes) references.set(node, (references.get(node) ?? 0) + 1)
    locked.add(image.key)
    if (base !== null) locked.add(`snapshot/${base.snapshotId}`)
    start.push({ image, base, kept: keptOf(facts, image) })
  }
  return { start, done: away.length === 0 && going.length === 0 }
}

/** What waits in sync for somebody's word copies nothing: it is no load for its nodes. */
const isLoad = (part: MovePart, held: boolean): boolean => !(held && part.inSync)

function referencesOf(facts: MoveFacts, going: readonly MovePart[]): Map<string, number> {
  const references = new Map(facts.otherReferences)
  for (const { from, to } of going.filter((part) => isLoad(part, facts.held))) {
    for (const node of new Set([from.node, to.node])) references.set(node, (references.get(node) ?? 0) + 1)
  }
  return references
}

/**
 * The closest snapshot that has moved and whose former image is still beside this one. `wait`: a closer one has still to
 * move.
 */
function baseOf(facts: MoveFacts, image: MoveImage): ShareBase | null | 'wait' {
  if (!facts.shares || !facts.images.some(({ snapshotId }) => snapshotId !== null)) return null
  for (const snapshotId of image.ancestors) {
    const ancestor = facts.images.find((one) => one.snapshotId === snapshotId)
    if (ancestor === undefined) continue
    if (!isAt(ancestor.place, facts.at)) {
      if (!ancestor.isBeingMade) return 'wait'
      continue
    }
    const former = facts.retained.find(
      (copy) => copy.snapshotId === snapshotId && isAt(copy, image.place) && copy.state === 'retained',
    )
    if (former !== undefined) {
      return { snapshotId, fromImageId: former.imageId, toImageId: ancestor.imageId }
    }
  }
  return null
}

/** A snapshot is never written to, so any kept copy will do; of a volume the one that its last move left. */
export function keptOf(facts: MoveFacts, image: MoveImage): NextImage['kept'] {
  // One that could not be taken back once, for somebody has written since, can't be ever.
  const refused = facts.parts.filter(({ state }) => state === 'failed').map((part) => part.targetImageId)
  const there = facts.retained.filter(
    (copy) => isAt(copy, facts.at) && copy.state === 'retained' && !refused.includes(copy.imageId),
  )
  if (image.snapshotId !== null) {
    const copy = there.find(({ snapshotId }) => snapshotId === image.snapshotId)
    return copy === undefined ? null : { imageId: copy.imageId, mark: null }
  }
  if (image.attached) return null
  const last = facts.parts.find(
    ({ targetImageId, state }) => targetImageId === image.imageId && state === 'succeeded',
  )
  const copy = there.find(({ imageId }) => imageId === last?.sourceImageId)
  return copy === undefined || last === undefined || last.mark === null
    ? null
    : { imageId: copy.imageId, mark: last.mark }
}

/** Newest first. */
export const partsFor = (parts: readonly MovePart[], key: string): MovePart[] =>
  parts.filter((part) => part.key === key)

/** Those since the last success, newest first, that did not bring the image over. */
function triesOf(parts: readonly MovePart[]): MovePart[] {
  const success = parts.findIndex(({ state }) => state === 'succeeded')
  return (success < 0 ? parts : parts.slice(0, success)).filter(({ state }) => state !== 'under-way')
}

const cutoverFailures = (parts: readonly MovePart[]): number =>
  parts.reduce((sum, part) => sum + part.cutoverFailures, 0)

/** Whether the latest part used up a round of `cutoverAttempts` cutovers. */
export function usedUpCutovers(parts: readonly MovePart[]): boolean {
  const tries = triesOf(parts)
  const [latest, ...earlier] = tries
  if (latest?.state !== 'failed' || latest.cutoverFailures === 0) return false
  const rounds = (failures: number): number => Math.floor(failures / cutoverAttempts)
  return rounds(cutoverFailures(tries)) > rounds(cutoverFailures(earlier))
}

/** Milliseconds: the first pause and the longest; each is twice the one before. */
const pauses = {
  /** It gave way to a user. */
  gaveWay: [500, 60_000],
  failed: [1000, 300_000],
  /** Its client could not be cut over. */
  cutover: [30_000, 3_600_000],
} as const

const growing = ([first, longest]: readonly [number, number], times: number): number =>
  Math.min(longest, first * 2 ** Math.min(30, Math.max(0, times - 1)))

/** When the image may be tried again: epoch milliseconds. */
export function retryAt(parts: readonly MovePart[]): number {
  const tries = triesOf(parts)
  const [latest] = tries
  if (latest === undefined || latest.endedAt === null) return 0
  if (latest.state === 'cancelled') {
    const inARow = tries.findIndex(({ state }) => state !== 'cancelled')
    return latest.endedAt + growing(pauses.gaveWay, inARow < 0 ? tries.length : inARow)
  }
  if (usedUpCutovers(parts)) {
    const rounds = Math.floor(cutoverFailures(tries) / cutoverAttempts)
    return latest.endedAt + growing(pauses.cutover, rounds)
  }
  const failed = tries.filter(({ state }) => state === 'failed').length
  return latest.endedAt + growing(pauses.failed, failed)
}
