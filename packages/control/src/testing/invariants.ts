import assert from 'node:assert/strict'
import pino from 'pino'
import { sweepRecords } from '../db/repositories/sweep.ts'
import { systemClock } from '../ports/clock.ts'
import { createSweep } from '../reconcile/sweep.ts'
import type { World } from './world.ts'

/**
 * The sweep's own judgement, without its grace time: nothing is there that no record owns. `strangers` are the ids of
 * what a test put there without a record.
 */
export async function assertNoLitter(world: World, strangers: readonly string[] = []): Promise<void> {
  const log = pino({ level: 'silent' })
  const ports = { ...world, ...world.records, owners: sweepRecords(world.db), clock: systemClock, log }
  const sweep = createSweep(ports, { fence: 0 }, { graceSeconds: 0, historySeconds: 3600 })
  const { strays, unreachable } = await sweep.run({ dryRun: true })
  assert.deepEqual(unreachable, [], 'every place was looked at')
  const told = strays
    .filter(({ id }) => !strangers.includes(id))
    .map(({ kind, id, reason }) => `${kind} ${id}: ${reason}`)
  assert.deepEqual(told, [], 'the sweep finds no strays')
}

/** What must hold after every ending, whatever happened. */
export async function assertVolumeClean(
  world: World,
  volumeId: string,
  images: { sourceImageId: string; targetImageId: string },
  truth: 'source' | 'target',
) {
  const now = await world.records.volumes.get(volumeId)
  const expected = truth === 'source' ? images.sourceImageId : images.targetImageId
  assert.equal(now.imageId, expected)
  assert.equal(now.flexvolId, truth === 'source' ? world.lma.id : world.lmb.id)
  const copies = await world.records.copies.ofVolume(volumeId)
  assert.deepEqual(
    copies.filter((c) => c.state === 'target'),
    [],
    'no target is left over',
  )
  const files = [...world.nodes.values()].flatMap((node) => [...node.images.keys()])
  assert.deepEqual(
    files.toSorted(),
    copies.map((c) => c.imageId).toSorted(),
    'every image has a row, every row an image',
  )
  const attached = (await world.records.attachments.ofVolume(volumeId)).length > 0
  const holders = [...world.holders.values()].flatMap((agent) => [...agent.holders.values()])
  if (!attached) assert.deepEqual(holders, [], 'no mover is left over')
  for (const holder of holders) {
    assert.equal(holder.image?.imageId, expected, 'the head stands on the truth')
    assert.equal(holder.mirror, undefined, 'no mirror is left over')
    assert.equal(holder.cutover, undefined, 'no attempt at a cutover is left over')
  }
  const exports = [...world.nodes.values()].flatMap((node) => [...node.exports.values()])
  for (const { access } of exports) assert.equal(access.imageId, expected, 'only the truth is exported')
  assert.equal(await world.records.copies.reservedBytes(world.lmb.id), 0, 'no reservation is left over')
  await assertNoLitter(world)
}

/** For the whole world, when nothing is under way: one truth for each volume, and nothing that no record owns. */
export async function assertWorldSound(world: World, strangers: readonly string[] = []): Promise<void> {
  const holders = [...world.holders.values()].flatMap((agent) => [...agent.holders.entries()])
  for (const { id, image_id } of await world.db.selectFrom('volumes').select(['id', 'image_id']).execute()) {
    const copies = await world.records.copies.ofVolume(id)
    const live = copies.filter(({ state }) => state === 'live').map(({ imageId }) => imageId)
    assert.deepEqual(
      live,
      image_id === null ? [] : [image_id],
      `volume ${id} has one truth, and it is its image`,
    )
    for (const copy of copies) {
      assert.notEqual(copy.state, 'target', `no target of volume ${id} is left over`)
      assert.equal(copy.reservedBytes, 0, `nothing is held back for volume ${id}`)
    }
    const attachments = (await world.records.attachments.ofVolume(id)).map(({ headId }) => headId)
    // A holder of no attachment is a stray, below.
    for (const [, holder] of holders.filter(([holderId]) => attachments.includes(holderId))) {
      assert.equal(holder.image?.imageId, image_id, 'a head stands on the truth')
      assert.deepEqual([holder.mirror, holder.cutover], [undefined, undefined], 'nothing is being copied')
    }
  }
  await assertNoLitter(world, strangers)
}
