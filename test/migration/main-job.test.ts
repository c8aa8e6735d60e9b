import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { verifyVolume } from '@volant/cli/commands/probe.ts'
import { migrated, statusIs, undone } from './moves.ts'
import {
  acknowledged,
  assertNothingLost,
  bootProbe,
  ended,
  openPlane,
  startMigration,
  until,
  type Job,
  type Plane,
} from './plane.ts'

const hostOf = async (plane: Plane, volumeId: string): Promise<string> =>
  String((await plane.client.volume.show(volumeId))['os-vol-host-attr:host'])

describe('an in-use volume migrates between two clusters, its guest writing all along', () => {
  let plane: Plane
  let job: Job

  before(async () => {
    plane = await openPlane()
    // As often as hardly anywhere else: some of its writes fall into each cutover.
    job = await bootProbe(plane, 'volant-probe', { commandLine: 'probe.iops=400' })
  })
  after(() => plane?.close())

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

  // Undone after its cutover, under the guest that writes.

  test('a volume in use goes back live, with every write since; and onwards again', async () => {
    const former = await plane.client.volume.show(job.volumeId)
    const id = await migrated(plane, job)
    assert.notEqual(await hostOf(plane, job.volumeId), former['os-vol-host-attr:host'])
    const shown = await plane.client.ndo.operation(id)
    assert.match(shown.commands.join(), new RegExp(`^volant undo ${id} {2}# possible until `))
    const count = await acknowledged(plane, job)
    await until('the guest has written at the target', 60_000, async () => {
      return (await acknowledged(plane, job)) > count + 200
    })

    const undo = await undone(plane, id, 'migrate')
    const now = await plane.client.volume.show(job.volumeId)
    assert.equal(now['os-vol-host-attr:host'], former['os-vol-host-attr:host'])
    assert.deepEqual([now.status, now.attachments], ['in-use', former.attachments])
    assert.equal(now['os-vol-mig-status-attr:migstat'], 'success')
    await assertNothingLost(plane, job)
    await assert.rejects(plane.client.ndo.undo(id), { status: 409, message: /undone already/ })

    await undone(plane, undo, 'migrate')
    assert.notEqual(await hostOf(plane, job.volumeId), former['os-vol-host-attr:host'])
    await assertNothingLost(plane, job)
  })

  test('a volume that the guest gave back goes back at once, and the guest finds every write', async () => {
    const spare = await writtenAndDetached(plane, job.serverId)
    const former = await plane.client.ndo.placement(spare.volumeId)
    const id = await migrated(plane, spare)
    const there = await plane.client.ndo.placement(spare.volumeId)
    const undo = await undone(plane, id, 'revert')
    assert.equal((await plane.client.ndo.placement(spare.volumeId)).image_id, former.image_id)
    const again = await undone(plane, undo, 'revert')
    assert.equal((await plane.client.ndo.placement(spare.volumeId)).image_id, there.image_id)

    const console = (await plane.client.ndo.placement(job.volumeId)).console_log_path as string
    const report = await verifyVolume(plane.client, spare.volumeId, [console])
    assert.deepEqual([report.ok, report.lost, report.torn], [true, 0, 0], JSON.stringify(report))
    assert.ok(report.acknowledgedWrites > 200)

    // In use again, the kept image misses what is written from now on.
    await plane.client.compute.attach(spare.serverId, spare.volumeId)
    await statusIs(plane, spare.volumeId, 'in-use')
    await until('the probe writes to it', 60_000, async () => (await acknowledged(plane, spare)) > 100)
    await undone(plane, again, 'migrate')
    await assertNothingLost(plane, spare)
  })
})

/** A volume that holds acknowledged writes, and that nobody has open. */
async function writtenAndDetached(plane: Plane, serverId: string): Promise<Job> {
  const { client } = plane
  const { id: volumeId } = await client.volume.create({ name: 'spare', size: 1 })
  const job = { serverId, volumeId }
  await statusIs(plane, volumeId, 'available')
  await client.compute.attach(serverId, volumeId)
  await until('the probe writes to it', 60_000, async () => (await acknowledged(plane, job)) > 200)
  await client.session.json('DELETE', `/compute/v2.1/servers/${serverId}/os-volume_attachments/${volumeId}`)
  await statusIs(plane, volumeId, 'available')
  return job
}
