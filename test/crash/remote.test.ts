import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { ended, until } from '../migration/plane.ts'
import { bringTo, guestGoesOn, nameOf, pidsOf, runCell, victims } from './cell.ts'
import { assertInvariants } from './invariants.ts'
import { allCells, quick } from './matrix.ts'
import { pointOf } from './points.ts'
import { openWorld, type World } from './world.ts'

// `npm run crash` runs all cells; these are the ones that are always run.
describe('a migration in which something is killed: three machines, agents in processes of their own', () => {
  let world: World | undefined

  before(async () => {
    world = await openWorld('remote')
  })
  after(() => world?.close())

  for (const name of quick.remote) {
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

  test('a target that hangs, while it copies and again at the cutover: the guest writes on, and the volume moves', async () => {
    assert.ok(world, 'the cells before passed')
    const { plane, gate, attached } = world
    gate.arm('inSync')
    const id = await bringTo(world, attached, pointOf('inSync'))
    for (const point of ['inSync', 'beforePrepare']) {
      const cell = { where: 'remote', volume: 'attached', point, victim: 'target export' } as const
      await until(`the migration is at ${point}`, 180_000, async () => gate.isReached())
      const pids = await pidsOf(world, cell, id)
      assert.equal(pids.length, 1, 'there is one export of the target')
      for (const pid of pids) process.kill(pid, 'SIGSTOP')
      try {
        gate.release()
        await plane.client.ndo.setRate(id, 0)
        await guestGoesOn(world)
      } finally {
        // Volant may have killed it meanwhile: then another one has taken its place.
        for (const pid of pids)
          if ((await pidsOf(world, cell, id)).includes(pid)) process.kill(pid, 'SIGCONT')
      }
      if (point === 'inSync') gate.arm('beforePrepare')
    }
    const operation = await ended(plane, id)
    assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
    await assertInvariants(world, attached)
  })
})
