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
import { openSmallDisk, type SmallDisk } from './small-disk.ts'
import { openWorld, truthOf, type World } from './world.ts'

describe('the database is unavailable while a migration is decided', () => {
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

  const truth = (): string => truthOf(world.plane.stateDir, world.attached.volumeId).imageId

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
