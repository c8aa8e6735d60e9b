/** What parts of a move find that is not as the records say, and what an operator's skipped undo leaves behind. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@volant/contract/testing/until.ts'
import { bind } from '@volant/saga'
import { keptForTheMove } from '../domain/relocation-part.ts'
import { openMoveRig } from '../testing/flexvol-moves.ts'
import { imageIn, makeSnapshot } from '../testing/snapshots.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { makeVolume, migrationInput } from '../testing/world.ts'
import { ensureHead } from './head.ts'
import { migrateVolume } from './migrate-volume.ts'

test('a kept image whose file is gone never becomes the truth again: it is copied', async (t) => {
  const rig = await openMoveRig()
  t.after(() => rig.close())
  const { world } = rig
  const volume = await makeVolume(world, world.lma, { attached: false })
  const snapshot = await makeSnapshot(world, volume)
  await rig.moved('aggr2')
  // The former image's row outlives it: its removal was cut off, or its aggregate was made anew.
  const former = await world.records.copies.get(snapshot.imageId as string)
  assert.equal(former.state, 'retained')
  await world.backend.ensureNoImage({ fence: rig.executor.fence }, former)
  await rig.moved('aggr1')
  const { imageId } = await world.records.snapshots.get(snapshot.id)
  assert.ok(imageIn(world, imageId as string), 'the snapshot has an image')
  assert.notEqual(imageId, former.imageId)
})

test('a clone that a part could not remove, and an operator skipped, does not keep the move from its end', async (t) => {
  const rig = await openMoveRig()
  t.after(() => rig.close())
  const { world, executor } = rig
  const volume = await makeVolume(world, world.lma, { attached: true })
  await makeSnapshot(world, volume)
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  assert.ok(attachment)
  await ensureHead(world.ports, { fence: 0 }, attachment)
  const node = world.nodes.get('lma-01')
  assert.ok(node)
  const status = node.imageCopyStatus
  let hangs = true
  node.imageCopyStatus = async (imageId) =>
    hangs && node.imageCopies.get(imageId)
      ? { phase: 'copying', doneBytes: 1, totalBytes: 2, rate: 0 }
      : status(imageId)
  hangs = false
  const stop = executor.onEvent((event) => {
    if (event.type === 'run' && event.run.kind === 'volume.relocate' && event.run.step === 'cloneSource')
      hangs = true
  })
  t.after(stop)
  const { operationId } = await rig.moves.start({ flexvolId: world.lma.id, aggregate: 'aggr2' })
  const part = async () =>
    (await rig.engine.partsOf(operationId)).find(({ kind }) => kind === 'volume.relocate')
  await until('the clone is read', async () => (await part())?.step === 'broughtUp')
  const { id } = (await part()) as { id: string }
  const remove = node.ensureNoImage
  let refuses = true
  node.ensureNoImage = async (...args) => {
    if (refuses) throw new Error('the node is away')
    return remove(...args)
  }
  await rig.engine.cancel(id)
  for (;;) {
    const run = await executor.ended(id)
    if (run.state !== 'needs-attention') break
    await executor.skip(id)
    await until(
      'it goes on',
      async () =>
        (await executor.get(id)).state !== 'needs-attention' || (await executor.get(id)).step !== run.step,
    )
  }
  refuses = false
  hangs = false
  stop()
  const targets = (await world.records.copies.ofVolume(volume.id)).filter(({ operationId: by }) => by === id)
  assert.deepEqual(targets, [], 'no row of the part is left')
  await until('the move ends', async () => (await executor.get(operationId)).state === 'succeeded')
})

test('what a cancelled move could not remove, and an operator skipped, is not kept for ever', async (t) => {
  const rig = await openMoveRig()
  t.after(() => rig.close())
  const { world, executor } = rig
  await makeSnapshot(world, await makeVolume(world, world.lma, { attached: false }))
  const busy = await makeVolume(world, world.lma, { attached: true })
  const [attachment] = await world.records.attachments.ofVolume(busy.id)
  assert.ok(attachment)
  await ensureHead(world.ports, { fence: 0 }, attachment)
  const { operationId } = await rig.moves.start({
    flexvolId: world.lma.id,
    aggregate: 'aggr2',
    cutoverAction: 'wait',
  })
  await until(
    'what nobody has open has moved',
    async () => (await rig.moves.movementOf(world.lma.id))?.state === 'cutover_pending',
  )
  const node = world.nodes.get('lma-01')
  assert.ok(node)
  const remove = node.ensureNoImage
  const kept = async () =>
    (await world.records.copies.ofFlexVol(world.lma.id)).filter(({ retainedUntil }) => retainedUntil !== null)
  node.ensureNoImage = async (caller, ref) => {
    if ((await kept()).some(({ imageId }) => imageId === ref.imageId)) throw new Error('the node is away')
    return remove(caller, ref)
  }
  await rig.moves.abort(world.lma.id)
  assert.equal((await executor.ended(operationId)).state, 'needs-attention')
  await executor.skip(operationId)
  await until('it ends', async () => (await executor.get(operationId)).endedAt !== null)
  assert.ok((await kept()).length > 0)
  for (const { retainedUntil } of await kept()) assert.notEqual(retainedUntil, keptForTheMove)
})

for (const attached of [true, false]) {
  test(`a migration that was asked for just before a part's commit does not migrate the former image (${attached ? 'attached' : 'detached'})`, async (t) => {
    const rig = await openMoveRig({ more: (world) => [bind(migrateVolume, world.ports)] })
    t.after(() => rig.close())
    const { world, executor } = rig
    const volume = await makeVolume(world, world.lma, { attached })
    const [attachment] = await world.records.attachments.ofVolume(volume.id)
    if (attachment !== undefined) await ensureHead(world.ports, { fence: 0 }, attachment)
    const asked = migrationInput(world, volume)
    await rig.moved('aggr2')
    const { imageId } = await world.records.volumes.get(volume.id)
    const { id } = await rig.engine.start(migrateVolume, asked)
    const run = await executor.ended(id)
    assert.equal(run.state, 'failed', run.failure?.message ?? '')
    const now = await world.records.volumes.get(volume.id)
    assert.deepEqual([now.imageId, now.migrationStatus], [imageId, 'error'])
    await assertWorldSound(world)
  })
}
