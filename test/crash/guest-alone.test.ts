import assert from 'node:assert/strict'
import { copyFile, readFile, rename, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, describe, test } from 'node:test'
import { stopControlPlane } from '@volant/cli/instance/stop.ts'
import { ended } from '../migration/plane.ts'
import { bringTo as bringMigrationTo, guestGoesOn } from './cell.ts'
import { assertInvariants } from './invariants.ts'
import { pointOf } from './points.ts'
import { killNow, processesOf } from './processes.ts'
import { openSmallDisk, type SmallDisk } from './small-disk.ts'
import { openWorld, truthOf, type World } from './world.ts'

describe('nobody of Volant is there for the guest at its cutover but the guard, or its database is unavailable', () => {
  let world: World
  let disk: SmallDisk

  before(async () => {
    disk = openSmallDisk(64)
    world = await openWorld('local')
  })
  after(async () => {
    disk?.free()
    await world?.close()
    disk?.close()
  })

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

  async function assertMoved(id: string, from: string): Promise<void> {
    const operation = await ended(world.plane, id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    assert.notEqual(truth(), from)
    await assertInvariants(world, world.attached)
  }

  /** With a new write-ahead log: one that was reset would have room for some more writes on a full disk. */
  async function moveDatabase(): Promise<void> {
    const path = join(world.plane.stateDir, 'volant.db')
    await stopControlPlane(world.plane.stateDir)
    const moved = join(disk.path, 'volant.db')
    await copyFile(path, moved)
    await rename(path, `${path}.before`)
    await symlink(moved, path)
    await world.plane.start()
  }

  test('another process has it locked at the commit: the guest goes on, and the record follows', async () => {
    const source = truth()
    const id = await bringTo('committed')
    const other = new DatabaseSync(join(world.plane.stateDir, 'volant.db'))
    try {
      other.exec('begin immediate')
      world.gate.release()
      await guestGoesOn(world)
      assert.equal(truth(), source, 'the record cannot have been written')
    } finally {
      other.close()
    }
    await assertMoved(id, source)
  })

  for (const point of ['committed', 'inSync']) {
    test(`its disk is full at ${point}: the guest goes on, and so does the migration when there is room`, async () => {
      if (point === 'committed') await moveDatabase()
      const source = truth()
      const id = await bringTo(point)
      disk.fill()
      try {
        world.gate.release()
        await guestGoesOn(world)
        assert.equal(truth(), source, 'nothing can have been written')
        const log = await readFile(join(world.plane.stateDir, 'log', 'volant.log'), 'utf8')
        assert.match(log.slice(-20_000), /disk is full/, 'the fault was reached')
      } finally {
        disk.free()
      }
      await assertMoved(id, source)
    })
  }
})
