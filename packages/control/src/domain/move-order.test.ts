import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nextImages, referencesPerNode, retryAt, usedUpCutovers } from './move-order.ts'
import type { MoveFacts, MoveImage, MovePart } from './move-order.ts'
import { movingImages, moveProgress } from './move-progress.ts'
import type { Copy } from './volume.ts'

const from = { node: 'n1', aggregate: 'a' }
const to = { node: 'n1', aggregate: 'b' }
const far = { node: 'n2', aggregate: 'c' }

const image = (more: Partial<MoveImage> & { volumeId: string }): MoveImage => {
  const snapshotId = more.snapshotId ?? null
  return {
    key: snapshotId === null ? `volume/${more.volumeId}` : `snapshot/${snapshotId}`,
    snapshotId,
    imageId: `image of ${snapshotId ?? more.volumeId}`,
    place: from,
    isBeingMade: false,
    attached: false,
    name: null,
    allocatedBytes: 100,
    ancestors: [],
    ...more,
  }
}
const part = (more: Partial<MovePart> & { key: string }): MovePart => ({
  id: crypto.randomUUID(),
  keys: [more.key],
  state: 'under-way',
  needsAttention: false,
  from,
  to,
  sourceImageId: 's',
  targetImageId: 't',
  startedAt: 0,
  endedAt: null,
  reason: null,
  cutoverFailures: 0,
  mark: null,
  pauseMs: null,
  inSync: false,
  atCutover: false,
  doneBytes: 0,
  totalBytes: 0,
  rateBps: 0,
  ...more,
})
const facts = (more: Partial<MoveFacts>): MoveFacts => ({
  at: to,
  shares: true,
  images: [],
  retained: [],
  parts: [],
  otherReferences: new Map(),
  held: false,
  now: 1_000_000,
  ...more,
})
const kept = (snapshotId: string, place = from): Copy => ({
  imageId: `former image of ${snapshotId}`,
  volumeId: 'v',
  snapshotId,
  flexvolId: 'f',
  ...place,
  sizeBytes: 1,
  state: 'retained',
  operationId: null,
  reservedBytes: 0,
  retainedUntil: '9999',
  createdAt: '',
})
const started = (given: MoveFacts): string[] => nextImages(given).start.map((next) => next.image.key)

test('a node has so many under way, those of other moves included, and the rest is queued', () => {
  const images = Array.from({ length: 20 }, (_, i) => image({ volumeId: `v${i}` }))
  assert.equal(started(facts({ images })).length, referencesPerNode)
  const otherReferences = new Map([['n1', 5]])
  assert.equal(started(facts({ images, otherReferences })).length, 3)
  assert.equal(started(facts({ images, otherReferences: new Map([['n2', 8]]), at: far })).length, 0)
  const parts = images.slice(0, 6).map(({ key }) => part({ key }))
  assert.deepEqual(started(facts({ images, parts })), ['volume/v6', 'volume/v7'])
  const inSync = parts.map((one) => ({ ...one, inSync: true }))
  assert.equal(started(facts({ images, parts: inSync })).length, 2, 'about to cut over is a load')
  assert.equal(started(facts({ images, parts: inSync, held: true })).length, 8, 'what is held is none')
})

test('the oldest snapshot first, each based on the closest that has moved', () => {
  const s1 = image({ volumeId: 'v', snapshotId: 's1' })
  const s2 = image({ volumeId: 'v', snapshotId: 's2', ancestors: ['s1'] })
  const v = image({ volumeId: 'v', attached: true, ancestors: ['s2', 's1'] })
  assert.deepEqual(started(facts({ images: [s1, s2, v] })), ['snapshot/s1'])
  const moved1 = { ...s1, place: to }
  const next = nextImages(facts({ images: [moved1, s2, v], retained: [kept('s1')] })).start
  assert.deepEqual(next[0]?.base, {
    snapshotId: 's1',
    fromImageId: 'former image of s1',
    toImageId: 'image of s1',
  })
  assert.equal(next.length, 1, 'the volume waits for its newest snapshot')
  const moved2 = { ...s2, place: to }
  const retained = [kept('s1'), kept('s2')]
  const last = nextImages(facts({ images: [moved1, moved2, v], retained })).start
  assert.equal(last[0]?.base?.snapshotId, 's2')
  // Its former image is gone: the one before will do.
  const without = nextImages(facts({ images: [moved1, moved2, v], retained: [kept('s1')] })).start
  assert.equal(without[0]?.base?.snapshotId, 's1')
  const gone = nextImages(facts({ images: [v], retained: [] })).start
  assert.equal(gone[0]?.base, null)
  assert.equal(started(facts({ shares: false, images: [s1, s2, v] })).length, 3, 'nothing to share: no order')
})

test('a snapshot that is still being made is not waited for, and two do not use one base at once', () => {
  const base = image({ volumeId: 'v', snapshotId: 's', place: to })
  const making = image({ volumeId: 'v', snapshotId: 'new', isBeingMade: true, ancestors: ['s'] })
  const v = image({ volumeId: 'v', ancestors: ['new', 's'] })
  const w = image({ volumeId: 'w', ancestors: ['s'] })
  const given = facts({ images: [base, making, v, w], retained: [kept('s')] })
  assert.deepEqual(started(given), ['volume/v'])
  assert.equal(nextImages(given).done, false)
})

test('it is done when all is there and nothing is under way', () => {
  const images = [image({ volumeId: 'v', place: to })]
  assert.equal(nextImages(facts({ images })).done, true)
  assert.equal(nextImages(facts({ images, parts: [part({ key: 'volume/v' })] })).done, false)
  assert.equal(nextImages(facts({ images: [image({ volumeId: 'v', isBeingMade: true })] })).done, false)
})

test('on the way back a kept image becomes the truth again, unless that was refused once', () => {
  const v = image({ volumeId: 'v', place: to, imageId: 'new' })
  const moved = part({
    key: 'volume/v',
    state: 'succeeded',
    endedAt: 1,
    targetImageId: 'new',
    sourceImageId: 'old',
    mark: 'm',
  })
  const old = { ...kept('x'), snapshotId: null, imageId: 'old' }
  const back = facts({ at: from, images: [v], retained: [old], parts: [moved] })
  assert.deepEqual(nextImages(back).start[0]?.kept, { imageId: 'old', mark: 'm' })
  const attached = { ...back, images: [{ ...v, attached: true }] }
  assert.equal(nextImages(attached).start[0]?.kept, null, 'its client may have written')
  const refused = part({ key: 'volume/v', state: 'failed', endedAt: 2, targetImageId: 'old' })
  assert.equal(nextImages({ ...back, parts: [refused, moved] }).start[0]?.kept, null)
  const unsealed = { ...back, parts: [{ ...moved, mark: null }] }
  assert.equal(nextImages(unsealed).start[0]?.kept, null)
})

test('pauses grow: short where it gave way, long after used-up cutovers, up to an hour', () => {
  const ended = (state: MovePart['state'], cutoverFailures = 0) =>
    part({ key: 'volume/v', state, endedAt: 1000, cutoverFailures })
  const pause = (...parts: MovePart[]) => retryAt(parts) - 1000
  assert.equal(retryAt([]), 0)
  assert.equal(retryAt([ended('succeeded')]), 0)
  const gaveWay = Array.from({ length: 20 }, () => ended('cancelled'))
  assert.deepEqual([pause(ended('cancelled')), pause(...gaveWay.slice(0, 3))], [500, 2000])
  assert.equal(pause(...gaveWay), 60_000)
  assert.equal(pause(ended('failed')), 1000)
  assert.equal(pause(ended('failed'), ended('succeeded'), ended('failed')), 1000, 'a success begins anew')
  assert.equal(pause(ended('failed', 3)), 30_000)
  assert.equal(pause(ended('failed', 3), ended('failed', 3)), 60_000)
  assert.equal(pause(...Array.from({ length: 30 }, () => ended('failed', 3))), 3_600_000)
})

test('three cutovers that were given up are a round, in one part or in several', () => {
  const failed = (cutoverFailures: number) =>
    part({ key: 'volume/v', state: 'failed', endedAt: 1, cutoverFailures })
  assert.equal(usedUpCutovers([failed(3)]), true)
  assert.equal(usedUpCutovers([failed(1), failed(1)]), false)
  assert.equal(usedUpCutovers([failed(1), failed(1), failed(1)]), true)
  assert.equal(usedUpCutovers([failed(0), failed(3)]), false, 'the latest failed otherwise')
  assert.equal(usedUpCutovers([part({ key: 'volume/v', state: 'succeeded' }), failed(3)]), false)
})

test('the progress counts each image once, whatever becomes of it', () => {
  const images = [
    image({ volumeId: 'moved', place: to }),
    image({ volumeId: 'copying', attached: true }),
    image({ volumeId: 'failed' }),
    image({ volumeId: 'queued' }),
  ]
  const parts = [
    part({ key: 'volume/copying', doneBytes: 30, totalBytes: 120, rateBps: 10 }),
    part({ key: 'volume/failed', state: 'failed', endedAt: 2000, reason: 'no space' }),
    part({
      key: 'volume/moved',
      state: 'succeeded',
      endedAt: 1000,
      doneBytes: 80,
      totalBytes: 80,
      pauseMs: 7,
    }),
  ]
  const given = facts({ images, parts })
  const progress = moveProgress(given, {
    move: { cutover: 'automatic' },
    paused: false,
    isBack: false,
    estimateBytes: 0,
  })
  assert.deepEqual(progress.images, { total: 4, moved: 1, copying: 1, inSync: 0, queued: 1, failed: 1 })
  assert.deepEqual([progress.doneBytes, progress.totalBytes], [110, 400])
  assert.deepEqual([progress.rateBps, progress.etaSeconds, progress.longestPauseMs], [10, 29, 7])
  assert.deepEqual(progress.issues, [
    { at: new Date(2000).toISOString(), image: 'volume/failed', reason: 'no space' },
  ])
  assert.equal(progress.phase, 'replicating')
  const heldNow = movingImages(
    { ...given, parts: [part({ key: 'volume/copying', inSync: true })] },
    forward(0),
  )
  assert.equal(heldNow[1]?.state, 'in-sync')
})

const forward = (estimateBytes: number) => ({
  move: { cutover: 'automatic' as const },
  paused: false,
  isBack: false,
  estimateBytes,
})

test('where blocks are shared the total is what was reckoned at the request until parts tell better', () => {
  const images = [
    image({ volumeId: 'v', snapshotId: 's1', allocatedBytes: 400 }),
    image({ volumeId: 'v', allocatedBytes: 1000, ancestors: ['s1'] }),
    image({ volumeId: 'w', allocatedBytes: 200 }),
  ]
  // The file system counts more of the files than there is to copy: 1200 by what they occupy.
  const begun = moveProgress(facts({ images }), forward(600))
  assert.deepEqual([begun.totalBytes, begun.leftBytes], [600, 600])
  const starting = part({ key: 'volume/v', doneBytes: 0, totalBytes: 1000 })
  assert.equal(moveProgress(facts({ images, parts: [starting] }), forward(600)).totalBytes, 600)
  const copying = { ...starting, doneBytes: 10, totalBytes: 250 }
  const told = moveProgress(facts({ images, parts: [copying] }), forward(600))
  assert.deepEqual([told.doneBytes, told.totalBytes], [10, 550])
  const retained = [{ ...kept('s1', to), snapshotId: 's1' }]
  const back = moveProgress(facts({ images, retained }), forward(400))
  assert.equal(back.totalBytes, 400, 'what is there already is not copied')
  assert.equal(movingImages(facts({ images, retained }), forward(400))[0]?.totalBytes, 0)
})

test('given up: what has moved counts down, and what is at home again, or never left it, is not counted', () => {
  const back = { from: to, to: from }
  const images = [
    image({ volumeId: 'waiting', place: to }),
    image({ volumeId: 'coming', place: to }),
    image({ volumeId: 'returned' }),
    image({ volumeId: 'never' }),
  ]
  const parts = [
    part({ key: 'volume/coming', ...back, doneBytes: 30, totalBytes: 100, rateBps: 10 }),
    part({ key: 'volume/returned', ...back, state: 'succeeded', doneBytes: 100, totalBytes: 100 }),
    // Still under way to the destination: it is being cancelled.
    part({ key: 'volume/never', doneBytes: 50, totalBytes: 100, rateBps: 1000 }),
    part({ key: 'volume/waiting', state: 'succeeded', doneBytes: 100, totalBytes: 100 }),
  ]
  const given = facts({ at: from, images, parts })
  const more = { move: { cutover: 'automatic' as const }, paused: false, isBack: true, estimateBytes: 400 }
  const progress = moveProgress(given, more)
  assert.equal(progress.phase, 'bringing-back')
  assert.deepEqual(progress.images, { total: 4, moved: 1, copying: 1, inSync: 0, queued: 0, failed: 0 })
  assert.deepEqual([progress.doneBytes, progress.leftBytes, progress.totalBytes], [170, 170, 400])
  assert.deepEqual([progress.rateBps, progress.etaSeconds], [10, 17])
  assert.deepEqual(
    movingImages(given, more).map(({ state }) => state),
    ['moved', 'copying', 'home', 'home'],
  )
  const over = moveProgress(facts({ at: from, images: images.map((one) => ({ ...one, place: from })) }), more)
  assert.deepEqual([over.doneBytes, over.leftBytes, over.images.moved, over.etaSeconds], [0, 0, 0, 0])
})
