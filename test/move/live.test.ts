import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { open } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import {
  assertNothingLost,
  bootProbe,
  ended,
  openPlane,
  until,
  type Job,
  type Plane,
} from '../migration/plane.ts'
import { digestOf } from './digest.ts'

const imageOf = async (plane: Plane, volumeId: string) => {
  const { path, aggregate } = await plane.client.ndo.placement(volumeId)
  assert.ok(path !== null && aggregate !== null)
  return { path, aggregate, digest: await digestOf(path) }
}

describe('a FlexVol goes to another aggregate of its node and back, a guest writing all along', () => {
  let plane: Plane
  let job: Job
  let detached: string

  before(async () => {
    plane = await openPlane()
    job = await bootProbe(plane)
    // The scheduler goes by what each pool has promised: of two, one comes to be beside the guest's.
    detached = ''
    for (const name of ['one', 'other']) {
      const { id } = await plane.client.volume.create({ name, size: 1 })
      const isAvailable = async () => (await plane.client.volume.show(id)).status === 'available'
      await until('the volume is available', 60_000, isAvailable)
      if ((await plane.client.ndo.placement(id)).cluster === 'cinder-lma') detached = id
    }
    assert.notEqual(detached, '')
    const file = await open((await imageOf(plane, detached)).path, 'r+')
    await file.write(randomBytes(8 * 2 ** 20), 0, 8 * 2 ** 20, 100 * 2 ** 20)
    await file.close()
  })
  after(() => plane.close())

  const move = async (aggregate: string) => {
    const flexvol = (await plane.client.ndo.flexvols()).find(({ cluster }) => cluster === 'cinder-lma')
    assert.ok(flexvol)
    const { id } = await plane.client.ndo.move({ flexvol: flexvol.id, aggregate })
    const operation = await ended(plane, id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    return plane.client.ndo.movement(id)
  }

  test('to and fro: nothing is lost, the pause is reported, users see nothing', async (t) => {
    const first = await plane.client.volume.show(job.volumeId)
    const { digest } = await imageOf(plane, detached)
    for (const aggregate of ['aggr2', 'aggr1', 'aggr2']) {
      const { move: done, images } = await move(aggregate)
      t.diagnostic(JSON.stringify({ aggregate, progress: done.progress, images }))
      const attached = images.find(({ id }) => id === job.volumeId)
      assert.ok(attached?.client_pause_ms !== null && (attached?.client_pause_ms ?? 0) > 0)
      const volume = await plane.client.volume.show(job.volumeId)
      assert.deepEqual({ ...volume, updated_at: null }, { ...first, updated_at: null })
      const now = await imageOf(plane, detached)
      assert.deepEqual([now.aggregate, now.digest], [aggregate, digest])
    }
    await assertNothingLost(plane, job)
  })
})
