import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { ended } from '../migration/plane.ts'
import { bringTo as bringMigrationTo, guestGoesOn } from './cell.ts'
import { assertInvariants } from './invariants.ts'
import { pointOf } from './points.ts'
import { killNow, processesOf } from './processes.ts'
import { openWorld, truthOf, type World } from './world.ts'

describe('nobody of Volant is there for the guest at its cutover but the guard', () => {
  let world: World

  before(async () => {
    world = await openWorld('local')
  })
  after(() => world?.close())

  const bringTo = async (point: string): Promise<string> => {
    world.gate.arm(point)
    return bringMigrationTo(world, world.attached, pointOf(point))
  }

  const controlPlane = async (): Promise<number> => {
    const found = (await processesOf(world.plane.stateDir)).find(({ kind }) => kind === 'control plane')
    assert.ok(found, 'the control plane runs')
    return found.pid
  }
  const truth = (): string => truthOf(world.plane.stateDir, world.attached.volumeId).imageId

  for (const { point, decided } of [
    { point: 'pending', decided: 'nothing is decided: the guard gives the cutover up' },
    { point: 'committed', decided: 'it is decided: the guard brings the guest to the target' },
  ]) {
    test(`the control plane dies at ${point} and stays dead; ${decided}`, async () => {
      const source = truth()
      const id = await bringTo(point)
      await killNow([await controlPlane()])
      world.gate.release()
      await guestGoesOn(world)
      await world.plane.start()
      const operation = await ended(world.plane, id)
      assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
      assert.notEqual(truth(), source)
      await assertInvariants(world, world.attached)
    })

    // Before it is decided a sleep is as the late thought below.
    if (point !== 'committed') continue
    test(`the control plane, its agents with it, sleeps at ${point} for longer than the guard waits`, async () => {
      const source = truth()
      const id = await bringTo(point)
      const pid = await controlPlane()
      process.kill(pid, 'SIGSTOP')
      try {
        world.gate.release()
        await guestGoesOn(world)
      } finally {
        process.kill(pid, 'SIGCONT')
      }
      const operation = await ended(world.plane, id)
      assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
      assert.notEqual(truth(), source)
      await assertInvariants(world, world.attached)
    })
  }

  test('the control plane thinks for longer than the guard waits: its commit comes too late, and it tries again', async () => {
    const id = await bringTo('pending')
    await guestGoesOn(world)
    world.gate.release()
    const operation = await ended(world.plane, id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    assert.ok(operation.attempts.length > 0, 'the first attempt was given up')
    await assertInvariants(world, world.attached)
  })
})
