/** What an operator says to a FlexVol's move while it is under way, and what users do meanwhile. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { until } from '@volant/contract/testing/until.ts'
import { DomainError } from '@volant/contract'
import { bind } from '@volant/saga'
import type { FlexVolMoveProgress } from '../domain/flexvol-move.ts'
import { isAt } from '../domain/move-order.ts'
import type { Volume } from '../domain/volume.ts'
import { openMoveRig } from '../testing/flexvol-moves.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { contentOf, imageIn, makeSnapshot } from '../testing/snapshots.ts'
import { makeVolume, type World } from '../testing/world.ts'
import { ensureHead } from './head.ts'
import { detachVolume } from './detach-volume.ts'

type Rig = Awaited<ReturnType<typeof openMoveRig>>

const aggr1 = { node: 'lma-01', aggregate: 'aggr1' }
const aggr2 = { node: 'lma-01', aggregate: 'aggr2' }

async function rigOf(t: TestContext, options: Parameters<typeof openMoveRig>[0] = {}): Promise<Rig> {
  const rig = await openMoveRig(options)
  t.after(() => rig.close())
  return rig
}

async function attachedVolume(world: World): Promise<Volume> {
  const volume = await makeVolume(world, world.lma, { attached: true })
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  if (attachment !== undefined) await ensureHead(world.ports, { fence: 0 }, attachment)
  return volume
}

const begin = async (rig: Rig, more: object = {}): Promise<string> =>
  (await rig.moves.start({ flexvolId: rig.world.lma.id, aggregate: 'aggr2', ...more })).operationId

const stateOf = async (rig: Rig): Promise<string | undefined> =>
  (await rig.moves.movementOf(rig.world.lma.id))?.state

const placeOf = async ({ world }: Rig, volume: Volume) => {
  const { imageId } = await world.records.volumes.get(volume.id)
  return world.records.copies.get(imageId as string)
}

/** What the move tells while it brings back: bytes and images that are still to come. */
function watchBack(rig: Rig, id: string): { done: number; away: number }[] {
  const seen: { done: number; away: number }[] = []
  rig.executor.onEvent((event) => {
    if (event.type !== 'progress' || event.runId !== id) return
    const { phase, doneBytes, images } = event.progress as FlexVolMoveProgress
    if (phase === 'bringing-back') seen.push({ done: doneBytes, away: images.moved + images.copying })
  })
  return seen
}

/** Everything is at one place, nothing is kept for ever, nothing is left over. */
async function assertSettled(rig: Rig, place: typeof aggr1): Promise<void> {
  const flexvol = await rig.flexvol()
  assert.ok(isAt(flexvol, place))
  assert.equal(flexvol.destination, null)
  for (const copy of await rig.world.records.copies.ofFlexVol(flexvol.id)) {
    if (copy.state === 'live') assert.ok(isAt(copy, place), `${copy.imageId} is at ${copy.aggregate}`)
    else assert.ok((copy.retainedUntil ?? '') < '2100', 'nothing is kept for ever')
  }
  await assertWorldSound(rig.world)
}

test('held cutovers wait in sync, do not stop the others, and go when they are triggered', async (t) => {
  const rig = await rigOf(t)
  const attached = await attachedVolume(rig.world)
  const detached = await makeVolume(rig.world, rig.world.lma, { attached: false })
  const id = await begin(rig, { cutoverAction: 'wait' })
  await until(
    'all that is left waits to be triggered',
    async () => (await stateOf(rig)) === 'cutover_pending',
  )
  assert.ok(isAt(await placeOf(rig, detached), aggr2), 'what nobody has open needs no word')
  assert.ok(isAt(await placeOf(rig, attached), aggr1))
  assert.deepEqual((await rig.moves.images(id)).map(({ state }) => state).toSorted(), ['in-sync', 'moved'])
  await rig.moves.trigger(rig.world.lma.id)
  assert.equal((await rig.executor.ended(id)).state, 'succeeded')
  await assertSettled(rig, aggr2)
})

test('a volume that was in sync and held is let go where the action is no longer to wait', async (t) => {
  const rig = await rigOf(t)
  await attachedVolume(rig.world)
  const id = await begin(rig, { cutoverAction: 'wait' })
  await until('it is held', async () => (await stateOf(rig)) === 'cutover_pending')
  await rig.moves.modify(rig.world.lma.id, { cutoverAction: 'retry_on_failure', cutoverWindowSeconds: 60 })
  assert.equal((await rig.executor.ended(id)).state, 'succeeded')
  assert.equal((await rig.world.records.moves.find(id))?.cutoverWindowSeconds, 60)
})

test('a hold that comes between in sync and cutover, time and again, is no cutover that failed', async (t) => {
  const rig = await rigOf(t)
  const { world } = rig
  const attached = await attachedVolume(world)
  let step: string | null = null
  let putOff = 0
  rig.executor.onEvent((event) => {
    if (event.type !== 'run' || event.run.kind !== 'volume.relocate') return
    if (step === 'cutover' && event.run.step === 'inSync') putOff += 1
    step = event.run.step
  })
  const { find } = world.records.moves
  world.records.moves.find = async (id) => {
    const move = await find(id)
    return move !== undefined && step === 'cutover' && putOff < 4 ? { ...move, cutover: 'held' } : move
  }
  const id = await begin(rig, { cutoverAction: 'abort_on_failure' })
  const run = await rig.executor.ended(id)
  assert.equal(run.state, 'succeeded', run.failure?.message ?? '')
  assert.equal(putOff, 4)
  assert.equal((await rig.engine.partsOf(id)).length, 1, 'the same part went on')
  const image = (await rig.moves.images(id)).find((one) => one.id === attached.id)
  assert.deepEqual([image?.attempts, image?.issues], [1, []])
})

/** The next so many cutovers are given up. */
function failCutovers({ world }: Rig, times: number): void {
  for (let i = 0; i < times; i++) {
    world.holders.get('m1')?.failNext('prepareCutover', new DomainError('conflict', 'not PENDING in time'))
  }
}

test('abort_on_failure: after three cutovers that were given up everything is brought back', async (t) => {
  const rig = await rigOf(t)
  const attached = await attachedVolume(rig.world)
  const detached = await makeVolume(rig.world, rig.world.lma, { attached: false })
  failCutovers(rig, 3)
  const id = await begin(rig, { cutoverAction: 'abort_on_failure' })
  const run = await rig.executor.ended(id)
  assert.equal(run.state, 'failed')
  assert.match(run.failure?.message ?? '', /could not be cut over.*not PENDING in time/s)
  assert.deepEqual(rig.world.holders.get('m1')?.pendingFaults, [], 'all three were met')
  assert.equal(await stateOf(rig), 'failed')
  for (const volume of [attached, detached]) assert.equal((await placeOf(rig, volume)).aggregate, 'aggr1')
  await assertSettled(rig, aggr1)
})

test('defer_on_failure: after three cutovers that were given up the rest is held until triggered', async (t) => {
  const rig = await rigOf(t)
  await attachedVolume(rig.world)
  failCutovers(rig, 3)
  const id = await begin(rig, { cutoverAction: 'defer_on_failure' })
  const held = async () => (await rig.world.records.moves.find(id))?.cutover === 'held'
  await until('cutovers are held', held)
  const { issues } = (await rig.moves.movementOf(rig.world.lma.id))?.progress ?? {}
  assert.match(issues?.[0]?.reason ?? '', /not PENDING in time/)
  await rig.moves.abort(rig.world.lma.id)
  assert.equal((await rig.executor.ended(id)).state, 'cancelled')
  await assertSettled(rig, aggr1)
})

test('retry_on_failure: an image whose cutovers fail is tried again, and the others do not wait for it', async (t) => {
  const rig = await rigOf(t)
  const attached = await attachedVolume(rig.world)
  const detached = await makeVolume(rig.world, rig.world.lma, { attached: false })
  failCutovers(rig, 3)
  const id = await begin(rig)
  const image = async () => (await rig.moves.images(id)).find((one) => one.id === attached.id)
  await until('its part has failed', async () => (await image())?.state === 'failed')
  await until('the other one has moved', async () => isAt(await placeOf(rig, detached), aggr2))
  assert.equal((await image())?.attempts, 3)
  assert.equal((await rig.executor.get(id)).state, 'waiting', 'the move goes on')
  await rig.moves.abort(rig.world.lma.id)
  assert.equal((await rig.executor.ended(id)).state, 'cancelled')
  await assertSettled(rig, aggr1)
})

test('cancelled half-way: what has moved is brought back, snapshots and untouched volumes without copying', async (t) => {
  const rig = await rigOf(t)
  const { world } = rig
  const attached = await attachedVolume(world)
  const untouched = await makeVolume(world, world.lma, { attached: false })
  const written = await makeVolume(world, world.lma, { attached: false })
  const snapshot = await makeSnapshot(world, untouched)
  const originals = [untouched, snapshot].map(({ imageId }) => imageId)
  const id = await begin(rig, { cutoverAction: 'wait' })
  await until('only the attached one is left', async () => (await stateOf(rig)) === 'cutover_pending')
  // Somebody wrote to one at its new place, as by an attachment that is over.
  const moved = imageIn(world, (await placeOf(rig, written)).imageId)
  assert.ok(moved)
  Object.assign(moved, { content: 'written there', changes: moved.changes + 1 })

  const seen = watchBack(rig, id)
  await rig.moves.abort(world.lma.id)
  assert.equal((await rig.executor.ended(id)).state, 'cancelled')
  assert.equal(await stateOf(rig), 'aborted')
  assert.deepEqual(seen.at(-1), { done: 0, away: 0 })
  for (const [i, one] of seen.entries()) {
    assert.ok(one.done <= (seen[i - 1]?.done ?? Infinity), `it counts down: ${JSON.stringify(seen)}`)
  }
  const { percentComplete, progress } = (await rig.moves.movementOf(world.lma.id)) ?? {}
  assert.deepEqual([percentComplete, progress?.images.moved], [0, 0])
  assert.deepEqual(new Set((await rig.moves.images(id)).map(({ state }) => state)), new Set(['home']))
  await assertSettled(rig, aggr1)
  assert.equal((await placeOf(rig, attached)).imageId, attached.imageId, 'it had not moved')
  const now = [
    (await world.records.volumes.get(untouched.id)).imageId,
    (await world.records.snapshots.get(snapshot.id)).imageId,
  ]
  assert.deepEqual(now, originals, 'their own former images are the truth again')
  const back = (await placeOf(rig, written)).imageId
  assert.notEqual(back, written.imageId)
  assert.equal(contentOf(world, back), 'written there', 'what was written there came along')
})

test('an attached volume that has cut over is mirrored back', async (t) => {
  const rig = await rigOf(t)
  const { world } = rig
  const first = await attachedVolume(world)
  const last = await makeVolume(world, world.lma, { attached: false })
  // Of the other one the copy never ends, so that the move doesn't.
  const node = world.nodes.get('lma-01')
  assert.ok(node)
  node.imageCopyStatus = async () => ({ phase: 'copying', doneBytes: 1, totalBytes: 2, rate: 0 })
  const id = await begin(rig)
  await until('it has moved', async () => isAt(await placeOf(rig, first), aggr2))
  const there = (await placeOf(rig, first)).imageId
  await rig.moves.abort(world.lma.id)
  assert.equal((await rig.executor.ended(id)).state, 'cancelled')
  const back = await placeOf(rig, first)
  assert.ok(back.imageId !== there && back.imageId !== first.imageId, 'by a new copy: its client wrote on')
  assert.equal((await placeOf(rig, last)).imageId, last.imageId)
  const head = [...(world.holders.get('m1')?.holders.values() ?? [])][0]
  assert.equal(head?.image?.imageId, back.imageId)
  await assertSettled(rig, aggr1)
})

test('a pause stops what copies and begins nothing; the rate is shared', async (t) => {
  const rig = await rigOf(t)
  const { world } = rig
  const volumes = []
  for (let i = 0; i < 10; i++) volumes.push(await makeVolume(world, world.lma, { attached: false }))
  for (const { imageId } of volumes) {
    const image = imageIn(world, imageId as string)
    if (image) image.allocatedBytes = 2 ** 20
  }
  // A copy that never ends by itself.
  const node = world.nodes.get('lma-01')
  assert.ok(node)
  node.imageCopyStatus = async (imageId) => {
    const copy = node.imageCopies.get(imageId)
    const known = { doneBytes: 1, totalBytes: 2 ** 20, rate: copy?.rate ?? 0 }
    return copy === undefined ? { phase: 'absent', ...known } : { phase: copy.phase, ...known }
  }
  const id = await begin(rig, { rate: 8_000_000 })
  await until('eight copy', () => node.imageCopies.size === 8)
  await until('each has its share of the rate', () =>
    [...node.imageCopies.values()].every(({ rate }) => rate === 1_000_000),
  )
  const counts = (await rig.moves.movementOf(world.lma.id))?.progress?.images
  assert.deepEqual(
    [counts?.copying, counts?.queued],
    [8, 2],
    'a node has eight under way, the rest is queued',
  )
  await rig.moves.pause(world.lma.id)
  await until('all of them pause', () =>
    [...node.imageCopies.values()].every(({ phase }) => phase === 'paused'),
  )
  assert.equal(await stateOf(rig), 'paused')
  await rig.moves.resume(world.lma.id)
  await until('all of them go on', () =>
    [...node.imageCopies.values()].every(({ phase }) => phase === 'copying'),
  )
  await rig.moves.abort(world.lma.id)
  assert.equal((await rig.executor.ended(id)).state, 'cancelled')
  await assertSettled(rig, aggr1)
})

test('users come first: a detach ends the part that moves the volume, and the move takes it up again', async (t) => {
  const rig = await rigOf(t, { firstPhase: 'copying', more: (world) => [bind(detachVolume, world.ports)] })
  const { world } = rig
  const volume = await attachedVolume(world)
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  assert.ok(attachment)
  const id = await begin(rig)
  const parts = async () => rig.engine.partsOf(id)
  await until('its head copies', async () => (await parts()).some(({ step }) => step === 'inSync'))
  await world.records.volumes.update(volume.id, { status: 'detaching' })
  await world.records.attachments.update(attachment.id, { status: 'detaching' })
  const input = { attachmentId: attachment.id, volumeId: volume.id, serverId: 'server-1' }
  const detach = await rig.engine.start(detachVolume, input)
  assert.equal((await rig.executor.ended(detach.id)).state, 'succeeded')
  assert.equal((await rig.executor.ended(id)).state, 'succeeded')
  const kinds = (await parts()).map(({ kind, state }) => `${kind} ${state}`)
  assert.deepEqual(kinds, ['image.relocate succeeded', 'volume.relocate cancelled'])
  await assertSettled(rig, aggr2)
})

test('what is created while it moves is made at the destination, and the move ends all the same', async (t) => {
  const rig = await rigOf(t)
  await attachedVolume(rig.world)
  const id = await begin(rig, { cutoverAction: 'wait' })
  await until('it is held', async () => (await stateOf(rig)) === 'cutover_pending')
  const { destination } = await rig.flexvol()
  assert.deepEqual(destination, aggr2)
  const { fence } = rig.executor
  await makeVolume(rig.world, { ...rig.world.lma, ...aggr2 }, { attached: false, fence })
  // One that was on its way home when the move began.
  const late = await makeVolume(rig.world, rig.world.lma, { attached: false, fence })
  await rig.moves.trigger(rig.world.lma.id)
  assert.equal((await rig.executor.ended(id)).state, 'succeeded')
  assert.equal((await placeOf(rig, late)).aggregate, 'aggr2')
  await assertSettled(rig, aggr2)
})

test('a refused move changes nothing and names every reason', async (t) => {
  const rig = await rigOf(t)
  const { world } = rig
  const failed = async (more: object) =>
    (await rig.moves.plan({ flexvolId: world.lma.id, aggregate: 'aggr2', ...more })).checks
      .filter(({ ok }) => !ok)
      .map(({ name }) => name)
  const start = (more: object) => rig.moves.start({ flexvolId: world.lma.id, aggregate: 'aggr2', ...more })
  assert.deepEqual(await failed({ aggregate: 'aggr9', cutoverWindowSeconds: 10 }), [
    'aggregate',
    'cutover-window',
  ])
  await assert.rejects(start({ aggregate: 'aggr9' }), { code: 'notFound', message: /aggr9.*aggr1, aggr2/s })
  await assert.rejects(start({ aggregate: 'aggr1' }), {
    code: 'invalid',
    message: /on aggregate aggr1 already/,
  })
  await assert.rejects(start({ cutoverWindowSeconds: 301 }), { code: 'invalid', message: /30 to 300/ })
  const volume = await makeVolume(world, world.lma, { attached: false })
  const image = imageIn(world, volume.imageId as string)
  if (image) image.allocatedBytes = 2 ** 41
  await assert.rejects(start({}), { code: 'noCapacity', message: /1099511627776 bytes\) are missing/ })
  if (image) image.allocatedBytes = 0
  assert.equal((await rig.flexvol()).destination, null)
  assert.equal(await world.records.moves.latestOf(world.lma.id), undefined)
  await attachedVolume(world)
  const id = await begin(rig, { cutoverAction: 'wait' })
  await assert.rejects(start({}), { code: 'conflict', message: /is moving already/ })
  await rig.moves.abort(world.lma.id)
  await rig.executor.ended(id)
  await assert.rejects(rig.moves.trigger(world.lma.id), { code: 'conflict', message: /is not moving/ })
})

test('while a part of it still comes back, a cancelled move says so', async (t) => {
  const rig = await rigOf(t)
  const { world } = rig
  const volume = await makeVolume(world, world.lma, { attached: false })
  await attachedVolume(world)
  const id = await begin(rig, { cutoverAction: 'wait' })
  await until('only the attached one is left', async () => (await stateOf(rig)) === 'cutover_pending')
  const moved = imageIn(world, (await placeOf(rig, volume)).imageId)
  assert.ok(moved)
  Object.assign(moved, { content: 'written there', changes: moved.changes + 1 })
  const node = world.nodes.get('lma-01')
  assert.ok(node)
  const status = node.imageCopyStatus
  node.imageCopyStatus = async () => ({ phase: 'copying', doneBytes: 1, totalBytes: 4, rate: 0 })
  await rig.moves.abort(world.lma.id)
  const back = async () => (await rig.moves.images(id)).find((image) => image.id === volume.id)
  await until('it is being copied back', async () => (await back())?.state === 'copying')
  await until('it is told', async () => (await rig.moves.movementOf(world.lma.id))?.percentComplete === 75)
  assert.equal(await stateOf(rig), 'bringing-back')
  node.imageCopyStatus = status
  assert.equal((await rig.executor.ended(id)).state, 'cancelled')
  await assertSettled(rig, aggr1)
})
