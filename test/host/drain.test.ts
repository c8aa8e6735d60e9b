import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { registerQuietProbe } from '../crash/world.ts'
import { carryOut } from './drain.ts'
import { assertSweptClean, placeProblems, settled } from './invariants.ts'
import { skipHosts } from './network.ts'
import { openHostRig, type HostRig } from './rig.ts'
import { assertNothingLost, bootWriter, hostOf, writesOn, type Writer } from './writers.ts'

describe('a compute host is emptied, and filled again, while its guests write', { skip: skipHosts }, () => {
  let rig: HostRig
  let writers: Writer[]

  before(async () => {
    rig = await openHostRig({ hosts: 2 })
    await registerQuietProbe(rig.plane)
    const image = await registerQuietProbe(rig.plane, 'probe-with-data', undefined, randomBytes(2 ** 20))
    const host = 'compute-1'
    writers = await Promise.all([
      bootWriter(rig, { name: 'one', host }),
      bootWriter(rig, { name: 'other', host, image, rootDisk: true }),
    ])
  })
  after(() => rig?.close())

  // `npm run proof:host` does this ten times, and kills more.
  for (const [kind, to, kills] of [
    ['drain', 'compute-2', 1],
    ['restore', 'compute-1', 0],
  ] as const) {
    test(`${kind}, the control plane killed ${kills} times: it ends by itself, and nothing is lost`, async (t) => {
      const { ms, pauses, kills: killed } = await carryOut(rig, kind, 'compute-1', { kills })
      assert.equal(killed, kills, 'so often was the control plane killed')
      for (const writer of writers) {
        assert.equal(await hostOf(rig.plane, writer), to)
        await writesOn(rig, writer)
        await assertNothingLost(rig, writer)
      }
      await settled(() => placeProblems(rig, writers))
      await assertSweptClean(rig)
      t.diagnostic(`${Math.round(ms)} ms, guests stood still for ${pauses.join(', ')} ms`)
    })
  }
})
