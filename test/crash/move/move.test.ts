import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { moveNameOf, runMoveCell } from './cell.ts'
import { allMoveCells, quickMoveCells } from './matrix.ts'
import { openMoveWorld, type MoveWorld } from './world.ts'

// `npm run crash -- move` runs all cells; these are the ones that are always run.
describe('a move of a FlexVol in which something is killed', () => {
  let world: MoveWorld | undefined

  before(async () => {
    world = await openMoveWorld()
  })
  after(() => world?.close())

  for (const name of quickMoveCells) {
    test(name, async (t) => {
      const cell = allMoveCells().find((one) => moveNameOf(one) === name)
      assert.ok(cell, `there is a cell ${name}`)
      // After a failure nothing is known of the world: the others would tell of it, and not of themselves.
      assert.ok(world, 'an earlier cell failed; run this one by itself: npm run crash -- ' + name)
      const here = world
      world = undefined
      try {
        const { ended, again } = await runMoveCell(here, cell)
        t.diagnostic(`${ended}, ${again} parts again`)
        world = here
      } catch (error) {
        await here.close().catch(() => {})
        throw error
      }
    })
  }
})
