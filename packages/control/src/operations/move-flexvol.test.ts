import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { until } from '@volant/contract/testing/until.ts'
import { openMoveRig } from '../testing/flexvol-moves.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { contentOf, makeSnapshot } from '../testing/snapshots.ts'
import { makeVolume, type Machines, type World } from '../testing/world.ts'
import { ensureHead } from './head.ts'

const here: Machines = { lma: 'm1', lmb: 'm1', compute: 'm1' }
const apart: Machines = { lma: 'store-a', lma2: 'store-a2', lmb: 'store-b', compute: 'compute' }

async function rigOf(t: TestContext, options: Parameters<typeof openMoveRig>[0] = {}) {
  const rig = await openMoveRig(options)
  t.after(() => rig.close())
  return rig
}

async function attachedVolume(world: World) {
  const volume = await makeVolume(world, world.lma, { attached: true })
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  if (attachment !== undefined) await ensureHead(world.ports, { fence: 0 }, attachment)
  return volume
}

for (const [machines, aggregate] of [
  [here, 'aggr2'],
  [apart, 'aggr2'],
  [apart, 'aggr3'],
] as const) {
  for (const reflink of [true, false]) {
    const what = `${machines === here ? 'one machine' : 'many machines'}, to ${aggregate}, ${reflink ? 'sharing' : 'copying'}`
    test(`attached, detached, snapshots: all of a FlexVol moves (${what})`, async (t) => {
      const rig = await rigOf(t, { machines, reflink })
      const { world } = rig
      const attached = await attachedVolume(world)
      const detached = await makeVolume(world, world.lma, { attached: false })
      const snapshots = [await makeSnapshot(world, attached), await makeSnapshot(world, detached)]
      const before = await Promise.all([attached, detached].map((v) => world.records.volumes.get(v.id)))
      const contents = snapshots.map(({ imageId }) => contentOf(world, imageId as string))
      const moveId = await rig.moved(aggregate)

      const flexvol = await rig.flexvol()
      assert.equal(flexvol.aggregate, aggregate)
      assert.equal(flexvol.destination, null)
      assert.equal(flexvol.moveReservedBytes, 0)
      for (const copy of await world.records.copies.ofFlexVol(flexvol.id)) {
        if (copy.state === 'retained') assert.equal(copy.aggregate, 'aggr1')
        else assert.deepEqual([copy.state, copy.aggregate], ['live', aggregate])
      }
      for (const volume of before) {
        const now = await world.records.volumes.get(volume.id)
        assert.deepEqual(
          { ...now, imageId: null, updatedAt: null },
          { ...volume, imageId: null, updatedAt: null },
          'nothing that a user sees has changed',
        )
      }
      for (const [i, { id }] of snapshots.entries()) {
        const { imageId } = await world.records.snapshots.get(id)
        assert.equal(contentOf(world, imageId as string), contents[i], 'a snapshot is what it was')
      }
      assert.equal((await world.records.moves.find(moveId))?.state, 'succeeded')
      const images = await rig.moves.images(moveId)
      assert.deepEqual(
        images.map((image) => image.state),
        ['moved', 'moved', 'moved', 'moved'],
      )
      await assertWorldSound(world)
    })
  }
}

test('what is made after the end of a move is none of its images', async (t) => {
  const rig = await rigOf(t)
  const { world } = rig
  const volume = await attachedVolume(world)
  const moveId = await rig.moved('aggr2')
  const imagesOf = async () => (await rig.moves.images(moveId)).map(({ id }) => id)
  assert.deepEqual(await imagesOf(), [volume.id])
  const createdAt = new Date(Date.now() + 1000).toISOString()
  const later = await makeSnapshot(world, await world.records.volumes.get(volume.id), 1)
  await world.db.updateTable('snapshots').set({ created_at: createdAt }).where('id', '=', later.id).execute()
  assert.deepEqual(await imagesOf(), [volume.id])
})

test('an attached volume that has grown since its snapshot moves all the same', async (t) => {
  const rig = await rigOf(t)
  const { world } = rig
  const volume = await attachedVolume(world)
  await makeSnapshot(world, volume)
  const { imageId } = await world.records.volumes.get(volume.id)
  const copy = await world.records.copies.get(imageId as string)
  const sizeBytes = 2 * copy.sizeBytes
  await world.ports.backend.ensureImageSize({ fence: 0 }, copy, sizeBytes)
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  await world.agents.holders('m1').ensureSize({ fence: 0 }, String(attachment?.id), sizeBytes)
  await world.records.copies.update(copy.imageId, { sizeBytes })
  const moveId = await rig.moved('aggr2')
  const parts = await rig.engine.partsOf(moveId)
  assert.deepEqual(
    parts.map(({ state, failure }) => [state, failure?.message]),
    [
      ['succeeded', undefined],
      ['succeeded', undefined],
    ],
  )
  await assertWorldSound(world)
})

test('the head of a volume whose server is being deleted is left alone', async (t) => {
  const rig = await rigOf(t)
  const { world, engine } = rig
  const volume = await attachedVolume(world)
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  await world.records.attachments.update(String(attachment?.id), { status: 'detaching' })
  const { operationId } = await rig.moves.start({ flexvolId: world.lma.id, aggregate: 'aggr2' })
  const reasons = async () => (await engine.partsOf(operationId)).map(({ failure }) => failure?.message)
  await until('its part was refused', async () => (await reasons()).includes('It is being detached.'))
  await world.records.attachments.update(String(attachment?.id), { status: 'attached' })
  assert.equal((await engine.settled(operationId)).state, 'succeeded')
  await assertWorldSound(world)
})
