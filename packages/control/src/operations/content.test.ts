/** How an image comes to hold what another one holds: what is shown of it, and how it follows the operator. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { AdvancingLook } from '@volant/saga'
import type { MigrationProgress } from '../domain/migration-progress.ts'
import { blockStoragePorts } from '../testing/block-storage.ts'
import { makeSnapshot } from '../testing/snapshots.ts'
import { makeVolume, openWorld } from '../testing/world.ts'
import { sealContent, lookAtContent } from './content.ts'

/** The copy of an image at rest, of which the test says how far it is. */
async function copyAtRest(t: TestContext) {
  const world = await openWorld(undefined, { reflink: false })
  t.after(() => world.db.destroy())
  const volume = await makeVolume(world, world.lma, { attached: false })
  const snapshot = await makeSnapshot(world, volume)
  const node = world.nodes.get(world.lma.node)
  assert.ok(node)
  let now = 0
  const ports = { ...blockStoragePorts(world), monotonic: () => now }
  const copyId = snapshot.imageId as string
  const asked: string[] = []
  const status = { phase: 'copying' as const, doneBytes: 0, totalBytes: 1000, rate: 0 }
  node.imageCopyStatus = async () => {
    asked.push('status')
    return { ...status }
  }
  node.setImageCopyRate = async (_, __, rate) => void asked.push(`rate ${rate}`)
  node.ensureImageCopyPaused = async (_, __, paused) => void asked.push(`paused ${paused}`)
  const control = { paused: false, rate: null as number | null, pace: null, priority: null }
  const op = { id: crypto.randomUUID(), fence: 0, control }
  const placed = { method: 'copy' as const, sourceImageId: volume.imageId as string }
  const look = async (at: number, doneBytes: number): Promise<MigrationProgress> => {
    now = at
    status.doneBytes = doneBytes
    const { progress } = (await lookAtContent(ports, op, copyId, placed)) as AdvancingLook
    return progress as MigrationProgress
  }
  return { ports, op, control, copyId, placed, look, asked }
}

test('the copy of an image at rest shows its rate and when it will be done', async (t) => {
  const { ports, op, copyId, placed, look } = await copyAtRest(t)
  assert.equal((await look(1000, 0)).etaSeconds, null)
  const second = await look(2000, 250)
  assert.deepEqual([second.rateBps, second.leftBytes, second.etaSeconds], [250, 750, 3])
  await sealContent(ports, op, copyId, placed, false)
  assert.equal(ports.copying.size, 0, 'nothing is remembered of a copy that is over')
})

test('a pause of it is brought to its node, and shown', async (t) => {
  const { control, look, asked } = await copyAtRest(t)
  control.paused = true
  assert.equal((await look(1000, 10)).phase, 'paused')
  assert.deepEqual(asked, ['status', 'paused true'])
})

test('a rate is brought to its node; one look asks once how far it is', async (t) => {
  const { control, look, asked } = await copyAtRest(t)
  control.rate = 4096
  await look(1000, 10)
  assert.deepEqual(asked, ['status', 'rate 4096'])
})
