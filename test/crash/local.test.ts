import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { nameOf, runCell, victims } from './cell.ts'
import { allCells, quick } from './matrix.ts'
import { openWorld, type World } from './world.ts'

// `npm run crash` runs all cells; these are the ones that are always run.
describe('a migration in which something is killed: one machine', () => {
  let world: World | undefined

  before(async () => {
    world = await openWorld('local')
  })
  after(() => world?.close())

  for (const name of quick.local) {
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
})
