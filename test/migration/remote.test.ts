import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
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
import { configOf, openNetwork, type Network } from './network.ts'

describe('storage nodes and compute host in network namespaces of their own', () => {
  let network: Network
  let plane: Plane
  let job: Job

  before(async () => {
    network = openNetwork()
    plane = await openPlane(configOf(network))
    job = await bootProbe(plane)
  })
  after(async () => {
    await plane?.close()
    network.close()
  })

  test('a volume migrates to and fro between the nodes; nothing is lost', async () => {
    for (let i = 0; i < 2; i++) {
      const operation = await ended(plane, (await startMigration(plane, job)).id)
      assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
      assert.ok(operation.client_pause_ms !== null)
    }
    await assertNothingLost(plane, job)
  })

  test('its head is killed while it copies: the guest pauses, nothing is lost', async () => {
    const { id } = await startMigration(plane, job, { rate: 200_000 })
    await until('the copy runs', 60_000, async () => (await plane.client.ndo.operation(id)).step === 'inSync')
    await plane.killHolder()
    await plane.client.ndo.setRate(id, 0)
    const operation = await ended(plane, id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    await assertNothingLost(plane, job)
  })

  test('a volume that nobody uses migrates, and can be attached afterwards', async () => {
    const { client } = plane
    const { id: volumeId } = await client.volume.create({ name: 'spare', size: 1 })
    const hasStatus = (status: string) =>
      until(
        `the volume is ${status}`,
        60_000,
        async () => (await client.volume.show(volumeId)).status === status,
      )
    await hasStatus('available')
    const operation = await ended(plane, (await startMigration(plane, { ...job, volumeId })).id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    await client.compute.attach(job.serverId, volumeId)
    await hasStatus('in-use')
  })

  test('the control plane is killed around the cutover, at another moment each time', async () => {
    for (const waitMs of [0, 25]) {
      const { id } = await startMigration(plane, job)
      const stepIs = async (...steps: string[]) =>
        steps.includes((await plane.client.ndo.operation(id)).step ?? '')
      await until('it copies, or more', 60_000, () => stepIs('inSync', 'cutover', 'settle', 'retireSource'))
      await sleep(waitMs)
      await plane.kill()
      await plane.start()
      const operation = await ended(plane, id)
      assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
      await assertNothingLost(plane, job)
    }
  })
})
