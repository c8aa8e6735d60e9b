/** Blocks that images share stay shared when their FlexVol moves. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test, type TestContext } from 'node:test'
import type { PartInput } from '../domain/relocation-part.ts'
import { openMoveRig } from '../testing/flexvol-moves.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { contentOf, imageIn, makeSnapshot } from '../testing/snapshots.ts'
import { makeVolume } from '../testing/world.ts'
import { ensureHead } from './head.ts'

const mib = 2 ** 20

/** A volume of which 100 MiB are written, and three snapshots; each later one, and the volume, has 10 MiB more. */
async function snapshotted(t: TestContext, options: { attached: boolean; reflink?: boolean }) {
  const rig = await openMoveRig({ reflink: options.reflink ?? true })
  t.after(() => rig.close())
  const { world } = rig
  const volume = await makeVolume(world, world.lma, options)
  const image = imageIn(world, volume.imageId as string)
  assert.ok(image)
  const snapshots = []
  for (let i = 0; i < 3; i++) {
    Object.assign(image, { allocatedBytes: (100 + 10 * i) * mib, content: `after ${i}` })
    const snapshot = await makeSnapshot(world, volume)
    const taken = imageIn(world, snapshot.imageId as string)
    const sharedBytes = i === 0 ? 0 : (90 + 10 * i) * mib
    if (taken) Object.assign(taken, { allocatedBytes: image.allocatedBytes, sharedBytes })
    snapshots.push(snapshot)
    await sleep(2) // The order of snapshots is that of their times.
  }
  Object.assign(image, { allocatedBytes: 130 * mib, sharedBytes: 120 * mib, content: 'now' })
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  if (attachment !== undefined) await ensureHead(world.ports, { fence: 0 }, attachment)
  return { rig, world, volume, snapshots }
}

for (const attached of [true, false]) {
  test(`each snapshot is based on the one before, and the volume on the newest (${attached ? 'attached' : 'detached'})`, async (t) => {
    const { rig, world, volume, snapshots } = await snapshotted(t, { attached })
    const plan = await rig.moves.plan({ flexvolId: world.lma.id, aggregate: 'aggr2' })
    assert.deepEqual([plan.estimate?.bytes, plan.estimate?.staysShared], [130 * mib, true])
    const id = await rig.moved('aggr2')
    const parts = (await rig.engine.partsOf(id)).toReversed().map(({ input }) => input as PartInput)
    assert.deepEqual(
      parts.map(({ snapshotId, base }) => [snapshotId, base?.snapshotId ?? null]),
      [
        [snapshots[0]?.id, null],
        [snapshots[1]?.id, snapshots[0]?.id],
        [snapshots[2]?.id, snapshots[1]?.id],
        [null, snapshots[2]?.id],
      ],
    )
    for (const { sourceImageId, targetImageId, snapshotId } of parts) {
      if (snapshotId === null && attached) continue
      assert.equal(contentOf(world, targetImageId), contentOf(world, sourceImageId))
    }
    const { totalBytes } = (await rig.moves.movementOf(world.lma.id))?.progress ?? {}
    // A simulated mirror of changes has a length of its own, whatever was written.
    const mirrored = attached ? 8 * mib : 0
    assert.ok(
      Math.abs((totalBytes ?? 0) - 130 * mib) <= mirrored,
      `no shared block counts twice: ${totalBytes}`,
    )
    const kinds = world.holders.get('m1')?.calls.filter((call) => call === 'ensureMirror').length
    assert.equal(kinds, attached ? 1 : 0)
    assert.equal((await world.records.volumes.get(volume.id)).imageId, parts.at(-1)?.targetImageId)
    await assertWorldSound(world)
  })
}

test('where blocks cannot be shared nothing waits for a base', async (t) => {
  const { rig, world } = await snapshotted(t, { attached: true, reflink: false })
  const plan = await rig.moves.plan({ flexvolId: world.lma.id, aggregate: 'aggr2' })
  assert.deepEqual([plan.estimate?.bytes, plan.estimate?.staysShared], [460 * mib, false])
  const id = await rig.moved('aggr2')
  const parts = await rig.engine.partsOf(id)
  assert.ok(parts.every(({ input }) => (input as PartInput).base === null))
})

test('a mirror of changes that is lost fails its part, and the next one begins with a new target', async (t) => {
  const { rig, world, volume } = await snapshotted(t, { attached: true })
  let died = false
  const stop = rig.executor.onEvent((event) => {
    if (event.type !== 'run' || event.run.step !== 'bringUp' || died) return
    died = true
    const [head] = [...(world.holders.get('m1')?.holders.keys() ?? [])]
    world.holders.get('m1')?.crashHolder(head as string)
  })
  t.after(stop)
  const id = await rig.moved('aggr2')
  assert.ok(died)
  const tries = (await rig.engine.partsOf(id)).filter(({ kind }) => kind === 'volume.relocate').toReversed()
  assert.deepEqual(
    tries.map(({ state }) => state),
    ['failed', 'succeeded'],
  )
  assert.match(tries[0]?.failure?.message ?? '', /has to be made anew/)
  const targets = tries.map(({ input }) => (input as PartInput).targetImageId)
  assert.notEqual(targets[0], targets[1])
  assert.equal((await world.records.volumes.get(volume.id)).imageId, targets[1])
  const [image] = (await rig.moves.images(id)).filter((one) => one.attached)
  assert.match(image?.issues[0] ?? '', /has to be made anew/)
  await assertWorldSound(world)
})
