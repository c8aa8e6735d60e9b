/** How far a FlexVol's move is: pure, from the same facts that decide what is next. */
import type { FlexVolMove, FlexVolMoveProgress, MovingImage } from './flexvol-move.ts'
import { isAt, keptOf, partsFor, type MoveFacts, type MoveImage, type MovePart } from './move-order.ts'

/** How many earlier issues are shown. */
const shownIssues = 10

interface Direction {
  /** To its home again. */
  isBack: boolean
  /** What was reckoned at the request, shared blocks once; 0: nothing was. */
  estimateBytes: number
}

/** Every image, as it is on its way to where it belongs. */
export function movingImages(facts: MoveFacts, direction: Direction): MovingImage[] {
  const factor = factorOf(facts, direction)
  return facts.images.map((image) => {
    const parts = partsFor(facts.parts, image.key)
    const [latest] = parts
    const state = stateOf(facts, image, latest, direction.isBack)
    const totalBytes = bytesOf(facts, image, latest, factor)
    return {
      kind: image.snapshotId === null ? 'volume' : 'snapshot',
      id: image.snapshotId ?? image.volumeId,
      name: image.name,
      state,
      attached: image.attached,
      doneBytes: doneOf(facts, image, latest, totalBytes),
      totalBytes,
      pauseMs: longest(parts),
      attempts:
        parts.reduce((sum, part) => sum + part.cutoverFailures, 0) + (longest(parts) === null ? 0 : 1),
      issues: parts
        .flatMap(({ reason, state: end }) => (reason !== null && end === 'failed' ? [reason] : []))
        .toReversed(),
      operationId: latest?.id ?? null,
    }
  })
}

function stateOf(
  facts: MoveFacts,
  image: MoveImage,
  latest: MovePart | undefined,
  isBack: boolean,
): MovingImage['state'] {
  if (latest !== undefined && isComing(facts, latest)) return latest.inSync ? 'in-sync' : 'copying'
  if (isAt(image.place, facts.at)) return isBack ? 'home' : 'moved'
  if (latest?.state === 'failed' && isAt(latest.to, facts.at)) return 'failed'
  return isBack ? 'moved' : 'queued'
}

/** One that still goes the other way is being given up. */
const isComing = (facts: MoveFacts, part: MovePart): boolean =>
  part.state === 'under-way' && isAt(part.to, facts.at)

function doneOf(
  facts: MoveFacts,
  image: MoveImage,
  latest: MovePart | undefined,
  totalBytes: number,
): number {
  if (latest !== undefined && isComing(facts, latest)) return latest.doneBytes
  return isAt(image.place, facts.at) ? totalBytes : 0
}

/** What moving the image copies: known of one that is under way or has moved, reckoned of the others. */
function bytesOf(facts: MoveFacts, image: MoveImage, latest: MovePart | undefined, factor: number): number {
  const isThere = isAt(image.place, facts.at)
  // There from the start, or what took it away was given up.
  if (isThere && (latest === undefined || !isAt(latest.to, facts.at))) return 0
  // Before its first byte a part knows what the image occupies, and not what of that is shared.
  const hasTold = latest !== undefined && isComing(facts, latest) && latest.doneBytes > 0
  const isKnown = hasTold || latest?.state === 'succeeded'
  if (isKnown && latest.totalBytes > 0) return latest.totalBytes
  if (isThere || keptOf(facts, image) !== null) return 0
  return Math.floor(reckoned(facts, image) * factor)
}

/** By what the images occupy: blocks that a snapshot shares with the one before are not told from others. */
function reckoned(facts: MoveFacts, image: MoveImage): number {
  if (!facts.shares) return image.allocatedBytes
  const closest = facts.images.find(
    ({ snapshotId }) => snapshotId !== null && snapshotId === image.ancestors[0],
  )
  return Math.max(0, image.allocatedBytes - (closest?.allocatedBytes ?? 0))
}

/** What was reckoned at the request knows which blocks are shared: all images together come to that. */
function factorOf(facts: MoveFacts, { isBack, estimateBytes }: Direction): number {
  if (isBack || !facts.shares || estimateBytes === 0) return 1
  const moved = facts.images.filter(
    (image) => !isAt(image.place, facts.at) || partsFor(facts.parts, image.key).length > 0,
  )
  const all = sum(
    moved.filter((image) => keptOf(facts, image) === null).map((image) => reckoned(facts, image)),
  )
  return all > 0 ? estimateBytes / all : 1
}

const longest = (parts: readonly MovePart[]): number | null =>
  parts.reduce<number | null>(
    (most, { pauseMs }) => (pauseMs === null ? most : Math.max(most ?? 0, pauseMs)),
    null,
  )

export function moveProgress(
  facts: MoveFacts,
  more: Direction & { move: Pick<FlexVolMove, 'cutover'>; paused: boolean },
): FlexVolMoveProgress {
  const { isBack } = more
  const images = movingImages(facts, more)
  const count = (state: MovingImage['state']): number =>
    images.filter((image) => image.state === state).length
  const numbers = {
    total: images.length,
    moved: count('moved'),
    copying: count('copying'),
    inSync: count('in-sync'),
    queued: count('queued'),
    failed: count('failed'),
  }
  const come = sum(images.map((image) => image.doneBytes))
  const known = sum(images.map((image) => image.totalBytes))
  // What has not moved has no part that could tell it when it is brought back.
  const totalBytes = Math.max(known, come, isBack ? more.estimateBytes : 0)
  const leftBytes = Math.max(0, (isBack ? known : totalBytes) - come)
  // Of what was moved less and less is left to bring back.
  const doneBytes = isBack ? leftBytes : come
  const rateBps = sum(facts.parts.map((part) => (isComing(facts, part) ? part.rateBps : 0)))
  return {
    phase: phaseOf(facts, numbers, more),
    doneBytes,
    totalBytes,
    rateBps,
    leftBytes,
    etaSeconds: leftBytes === 0 ? 0 : rateBps > 0 ? Math.ceil(leftBytes / rateBps) : null,
    images: numbers,
    longestPauseMs: longest(facts.parts),
    issues: issuesOf(facts),
  }
}

function phaseOf(
  facts: MoveFacts,
  numbers: FlexVolMoveProgress['images'],
  { move, paused, isBack }: { move: Pick<FlexVolMove, 'cutover'>; paused: boolean; isBack: boolean },
): FlexVolMoveProgress['phase'] {
  if (isBack) return 'bringing-back'
  if (paused) return 'paused'
  const going = facts.parts.filter(({ state }) => state === 'under-way')
  const left = numbers.total - numbers.moved
  if (left > 0 && numbers.inSync === left && move.cutover === 'held') return 'cutover_pending'
  if (left > 0 && going.length === left && going.every((part) => part.inSync || part.atCutover))
    return 'cutover'
  return numbers.moved === 0 && going.length === 0 && left > 0 ? 'queued' : 'replicating'
}

function issuesOf(facts: MoveFacts): FlexVolMoveProgress['issues'] {
  const nameOf = (key: string): string => {
    const image = facts.images.find((one) => one.key === key)
    return image?.name === null || image === undefined ? key : `${key} (${image.name})`
  }
  return facts.parts
    .filter((part) => part.reason !== null && (part.state === 'failed' || part.needsAttention))
    .slice(0, shownIssues)
    .map((part) => ({
      at: new Date(part.endedAt ?? facts.now).toISOString(),
      image: nameOf(part.key),
      reason: part.reason ?? '',
    }))
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0)
