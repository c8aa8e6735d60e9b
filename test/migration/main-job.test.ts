import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import {
  assertNothingLost,
  bootProbe,
  ended,
  openPlane,
  startMigration,
  until,
  type Job,
  type Plane,
} from './plane.ts'

describe('an in-use volume migrates between two clusters, its guest writing all along', () => {
  let plane: Plane
  let job: Job

  before(async () => {
    plane = await openPlane()
    job = await bootProbe(plane)
  })
  after(() => plane.close())

  test('ten times to and fro: nothing is lost, every pause is reported, the volume stays the same', async () => {
    const first = await plane.client.volume.show(job.volumeId)
    for (let i = 0; i < 10; i++) {
      const operation = await ended(plane, (await startMigration(plane, job)).id)
      assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
      assert.ok(operation.client_pause_ms !== null && operation.client_pause_ms > 0)
      const volume = await plane.client.volume.show(job.volumeId)
      assert.equal(volume['os-vol-host-attr:host'], operation.target)
      assert.equal(volume['os-vol-mig-status-attr:migstat'], 'success')
      assert.equal(volume.status, 'in-use')
      assert.deepEqual(volume.attachments, first.attachments)
    }
    await assertNothingLost(plane, job)
  })

  test('the storage daemon is killed while it copies: the guest pauses, the copy starts again, nothing is lost', async () => {
    const { id } = await startMigration(plane, job, { rate: 200_000 })
    await until('the copy runs', 60_000, async () => (await plane.client.ndo.operation(id)).step === 'inSync')
    await plane.killHolder()
    await plane.client.ndo.setRate(id, 0)
    const operation = await ended(plane, id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    assert.ok(operation.attempts.length > 0, 'the restart of the copy is on record')
    await assertNothingLost(plane, job)
  })

  test('the control plane is killed while a copy runs: the copy goes on, and so does the operation', async () => {
    const { id } = await startMigration(plane, job, { rate: 200_000 })
    await until('the copy runs', 60_000, async () => (await plane.client.ndo.operation(id)).step === 'inSync')
    await plane.kill()
    await plane.start()
    await plane.client.ndo.setRate(id, 0)
    const operation = await ended(plane, id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    assert.deepEqual(operation.attempts, [], 'the copy went on; it did not start from zero')
    await assertNothingLost(plane, job)
  })

  test('cancelled while it copies: the volume is where it was, and nothing is left of the target', async () => {
    const before = await plane.client.ndo.placement(job.volumeId)
    const { id } = await startMigration(plane, job, { rate: 200_000 })
    await until('the copy runs', 60_000, async () => (await plane.client.ndo.operation(id)).step === 'inSync')
    await plane.client.ndo.cancel(id)
    assert.equal((await ended(plane, id)).state, 'cancelled')
    const now = await plane.client.ndo.placement(job.volumeId)
    assert.equal(now.image_id, before.image_id)
    assert.equal((await plane.client.volume.show(job.volumeId)).status, 'in-use')
    await assertNothingLost(plane, job)
  })
})
