import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
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
} from '../migration/plane.ts'

const gib = 1024 ** 3

describe("a volume's life with a real guest: grown, detached, attached again, restarted with its server", () => {
  let plane: Plane
  let job: Job

  before(async () => {
    plane = await openPlane()
    job = await bootProbe(plane)
  })
  after(() => plane.close())

  const project = () => plane.client.session.projectId()
  const volumeAction = async (body: unknown) =>
    plane.client.session.json('POST', `/volume/v3/${await project()}/volumes/${job.volumeId}/action`, {
      body,
      headers: { 'openstack-api-version': 'volume 3.70' },
    })
  const serverAction = (body: unknown) =>
    plane.client.session.json('POST', `/compute/v2.1/servers/${job.serverId}/action`, { body })
  const volumeIs = (status: string) =>
    until(
      `the volume is ${status}`,
      60_000,
      async () => (await plane.client.volume.show(job.volumeId)).status === status,
    )
  const serverIs = (status: string) =>
    until(
      `the server is ${status}`,
      60_000,
      async () => (await plane.client.compute.show(job.serverId)).status === status,
    )
  const consoleText = async () => {
    const { console_log_path: path } = await plane.client.ndo.placement(job.volumeId)
    return readFile(path as string, 'utf8')
  }

  test('grown while attached: the guest sees the new size and writes on; then it migrates', async () => {
    await volumeAction({ 'os-extend': { new_size: 2 } })
    await volumeIs('in-use')
    assert.equal((await plane.client.volume.show(job.volumeId)).size, 2)
    await until('the guest sees 2 GiB', 60_000, async () =>
      (await consoleText()).includes(` size=${2 * gib} `),
    )
    await assertNothingLost(plane, job)
    const operation = await ended(plane, (await startMigration(plane, job)).id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    const placement = await plane.client.ndo.placement(job.volumeId)
    assert.equal(placement.size_bytes, 2 * gib)
    await assertNothingLost(plane, job)
  })

  test('a growth is refused while it migrates, and a shrink always; nothing is changed', async () => {
    await assert.rejects(volumeAction({ 'os-extend': { new_size: 1 } }), { status: 400 })
    const { id } = await startMigration(plane, job, { rate: 200_000 })
    await assert.rejects(volumeAction({ 'os-extend': { new_size: 3 } }), { status: 400 })
    await plane.client.ndo.cancel(id)
    assert.equal((await ended(plane, id)).state, 'cancelled')
    assert.equal((await plane.client.volume.show(job.volumeId)).size, 2)
  })

  test('detached, migrated while detached, attached again: the new session finds the old data', async () => {
    const path = `/compute/v2.1/servers/${job.serverId}/os-volume_attachments/${job.volumeId}`
    await plane.client.session.json('DELETE', path)
    await volumeIs('available')
    const operation = await ended(plane, (await startMigration(plane, job)).id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    assert.equal((await plane.client.volume.show(job.volumeId)).status, 'available')
    await plane.client.compute.attach(job.serverId, job.volumeId)
    await volumeIs('in-use')
    await until('the probe writes', 60_000, async () => (await acknowledged(plane, job)) > 100)
    await assertNothingLost(plane, job)
  })

  test('its server is stopped, the volume migrates, the server starts again with it', async () => {
    await serverAction({ 'os-stop': null })
    await serverIs('SHUTOFF')
    const operation = await ended(plane, (await startMigration(plane, job)).id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    await serverAction({ 'os-start': null })
    await serverIs('ACTIVE')
    const sessions = async () => (await consoleText()).match(/ found serial=/g)?.length ?? 0
    await until('the probe finds its disk again', 60_000, async () => (await sessions()) >= 3)
    await until('the probe writes', 60_000, async () => (await acknowledged(plane, job)) > 100)
    await assertNothingLost(plane, job)
  })

  test('deleted with its server gone: nothing is left of it', async () => {
    await plane.client.compute.remove(job.serverId)
    await volumeIs('available')
    const { path } = await plane.client.ndo.placement(job.volumeId)
    await plane.client.volume.remove(job.volumeId)
    await until('the volume is gone', 60_000, async () =>
      plane.client.volume.show(job.volumeId).then(
        () => false,
        (error: { status?: number }) => error.status === 404,
      ),
    )
    await assert.rejects(readFile(path as string))
  })
})
