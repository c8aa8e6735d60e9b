import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { skipNfs } from '../../dataplane/nfs-rig.ts'
import { runShareCell, shareNameOf } from './cell.ts'
import { allShareCells, quickShareCells } from './matrix.ts'
import { openShareWorld, type ShareWorld } from './world.ts'

// `npm run crash -- share` runs all cells; these are the ones that are always run.
describe('operations on a share in which something is killed', { skip: skipNfs }, () => {
  let world: ShareWorld | undefined

  before(async () => {
    world = await openShareWorld()
  })
  after(() => world?.close())

  for (const name of quickShareCells) {
    test(name, async (t) => {
      const cell = allShareCells().find((one) => shareNameOf(one) === name)
      assert.ok(cell, `there is a cell ${name}`)
      // After a failure nothing is known of the world: the others would tell of it, and not of themselves.
      assert.ok(world, 'an earlier cell failed; run this one by itself: npm run crash -- ' + name)
      const here = world
      world = undefined
      try {
        const { ended, tookMs } = await runShareCell(here, cell)
        t.diagnostic(`${ended}, ${(tookMs / 1000).toFixed(1)} s`)
        world = here
      } catch (error) {
        await here.close().catch(() => {})
        throw error
      }
    })
  }
})
