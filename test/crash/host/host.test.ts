import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { assertNothingLost, hostOf, migrated, writesOn } from '../../host/writers.ts'
import { skipHosts } from '../../host/network.ts'
import { hostNameOf, runHostCell } from './cell.ts'
import { allHostCells, quickHostCells } from './matrix.ts'
import { openHostWorld, type HostWorld } from './world.ts'

// `npm run crash -- host` runs all cells; these are the ones that are always run.
describe('a live migration between machines', { skip: skipHosts }, () => {
  let world: HostWorld | undefined

  before(async () => {
    world = await openHostWorld()
  })
  after(() => world?.close())

  test('to the other host and back while the guest writes: nothing is lost, its network follows', async (t) => {
    assert.ok(world)
    const { rig, writer } = world
    for (const host of ['compute-2', 'compute-1']) {
      const pauseMs = await migrated(rig, writer, host)
      t.diagnostic(`to ${host}: ${pauseMs} ms`)
      assert.ok(pauseMs !== null && pauseMs > 0)
      assert.equal(rig.network.hostOfMac(writer.macs[0] as string), host, 'announced to the network')
      await writesOn(rig, writer)
      await assertNothingLost(rig, writer)
      assert.equal(await hostOf(rig.plane, writer), host)
    }
  })

  for (const name of quickHostCells) {
    test(name, async (t) => {
      const cell = allHostCells().find((one) => hostNameOf(one) === name)
      assert.ok(cell, `there is a cell ${name}`)
      // After a failure nothing is known of the world: the others would tell of it, and not of themselves.
      assert.ok(world, 'an earlier cell failed; run this one by itself: npm run crash -- ' + name)
      const here = world
      world = undefined
      try {
        t.diagnostic(JSON.stringify(await runHostCell(here, cell)))
        world = here
      } catch (error) {
        await here.close().catch(() => {})
        throw error
      }
    })
  }
})
