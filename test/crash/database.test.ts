import assert from 'node:assert/strict'
import { copyFile, readFile, rename, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, describe, test } from 'node:test'
import { stopControlPlane } from '@volant/cli/instance/stop.ts'
import { parseConsole } from '../../probe/console.ts'
import { ended, startMigration, until } from '../migration/plane.ts'
import { assertInvariants } from './invariants.ts'
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

  /** As the guest's console says: the control plane may be as good as dead. */
  async function acknowledged(): Promise<number> {
    const text = await readFile(world.consoleLog, 'utf8')
    const last = parseConsole(text, world.attached.volumeId.slice(0, 20)).at(-1)
    return last?.kind === 'progress' ? last.acked : 0
  }

  const guestGoesOn = async (): Promise<void> => {
    const before = await acknowledged()
    await until('the guest writes on', 60_000, async () => (await acknowledged()) > before + 300)
  }

  async function bringTo(point: string): Promise<string> {
    world.gate.arm(point)
    const { id } = await startMigration(world.plane, world.attached)
    await until(`the migration is at ${point}`, 180_000, async () => world.gate.isReached())
    return id
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
      await guestGoesOn()
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
        await guestGoesOn()
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
