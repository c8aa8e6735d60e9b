/** How far a FlexVol's move is: pure, from the same facts that decide what is next. */
import type { FlexVolMove, FlexVolMoveProgress, MovingImage } from './flexvol-move.ts'
import { isAt, partsFor, type MoveFacts, type MoveImage, type MovePart } from './move-order.ts'

/** How many earlier issues are shown. */
const shownIssues = 10

/** Every image, as it is on its way to where it belongs. */
export function movingImages(facts: MoveFacts): MovingImage[] {
  return facts.images.map((image) => {
    const parts = partsFor(facts.parts, image.key)
    const [latest] = parts
    const state = stateOf(facts, image, latest)
    const totalBytes = bytesOf(facts, image, latest)
    return {
      kind: image.snapshotId === null ? 'volume' : 'snapshot',
      id: image.snapshotId ?? image.volumeId,
      name: image.name,
      state,
      attached: image.attached,
      doneBytes: state === 'moved' ? totalBytes : doneOf(latest),
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

function stateOf(facts: MoveFacts, image: MoveImage, latest: MovePart | undefined): MovingImage['state'] {
  if (latest?.state === 'under-way' && isAt(latest.to, facts.at)) return latest.inSync ? 'in-sync' : 'copying'
  if (isAt(image.place, facts.at)) return 'moved'
  return latest?.state === 'failed' ? 'failed' : 'queued'
}

const doneOf = (part: MovePart | undefined): number => (part?.state === 'under-way' ? part.doneBytes : 0)

/** What moving the image copies: known of one that is under way or has moved, reckoned of the others. */
function bytesOf(facts: MoveFacts, image: MoveImage, latest: MovePart | undefined): number {
  const isKnown = latest?.state === 'under-way' || latest?.state === 'succeeded'
  if (isKnown && latest.totalBytes > 0) return latest.totalBytes
  if (isAt(image.place, facts.at)) return 0
  if (!facts.shares) return image.allocatedBytes
  const closest = facts.images.find(
    ({ snapshotId }) => snapshotId !== null && snapshotId === image.ancestors[0],
  )
  return Math.max(0, image.allocatedBytes - (closest?.allocatedBytes ?? 0))
}

const longest = (parts: readonly MovePart[]): number | null =>
  parts.reduce<number | null>(
    (most, { pauseMs }) => (pauseMs === null ? most : Math.max(most ?? 0, pauseMs)),
    null,
  )

export function moveProgress(
  facts: MoveFacts,
  more: {
    move: Pick<FlexVolMove, 'cutover'>
    paused: boolean
    isBack: boolean
    /** What was reckoned at the start; shared blocks make the parts' own figures small before they begin. */
    estimateBytes: number
  },
): FlexVolMoveProgress {
  const images = movingImages(facts)
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
  const doneBytes = sum(images.map((image) => image.doneBytes))
  const known = sum(images.map((image) => image.totalBytes))
  const isOver = numbers.moved === numbers.total
  const totalBytes = isOver ? known : Math.max(known, more.isBack ? 0 : more.estimateBytes, doneBytes)
  const rateBps = sum(facts.parts.map((part) => (part.state === 'under-way' ? part.rateBps : 0)))
  const leftBytes = Math.max(0, totalBytes - doneBytes)
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
