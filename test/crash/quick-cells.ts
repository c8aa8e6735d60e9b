/** The cells that `npm test` always runs; `npm run crash` runs all. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { nameOf, runCell, victims } from './cell.ts'
import { allCells, quick } from './matrix.ts'
import { openWorld, type Where, type World } from './world.ts'

/** Registers a test for each; returns the world that they leave, for further ones. */
export function testCells(where: Where): () => World {
  let world: World | undefined
  before(async () => {
    world = await openWorld(where)
  })
  after(() => world?.close())
  for (const name of quick[where]) {
    test(name, async (t) => {
      const cell = allCells(victims).find((one) => nameOf(one) === name)
      assert.ok(cell, `there is a cell ${name}`)
      // After a failure nothing is known of the world: the others would tell of it, and not of themselves.
      assert.ok(world, 'an earlier cell failed; run this one by itself: npm run crash -- ' + name)
      const here = world
      world = undefined
      try {
        const { ended, attempts, longestMs } = await runCell(here, cell)
        t.diagnostic(`${ended}, ${attempts} attempts, longest write ${longestMs ?? '-'} ms`)
        world = here
      } catch (error) {
        await here.close()
        throw error
      }
    })
  }
  return () => {
    assert.ok(world, 'the cells before passed')
    return world
  }
}
