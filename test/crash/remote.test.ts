import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ended, until } from '../migration/plane.ts'
import { bringTo, guestGoesOn, pidsOf } from './cell.ts'
import { assertInvariants } from './invariants.ts'
import { pointOf } from './points.ts'
import { testCells } from './quick-cells.ts'

describe('a migration in which something is killed: three machines, agents in processes of their own', () => {
  const worldOf = testCells('remote')

  test('a target that hangs, while it copies and again at the cutover: the guest writes on, and the volume moves', async () => {
    const world = worldOf()
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
