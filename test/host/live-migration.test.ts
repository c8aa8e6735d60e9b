import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { registerQuietProbe } from '../crash/world.ts'
import { skipHosts } from './network.ts'
import { openHostRig, type HostRig } from './rig.ts'
import { assertNothingLost, bootWriter, migrated, writesOn, type Writer } from './writers.ts'

describe('a server with a port and two volumes, on compute hosts of their own', { skip: skipHosts }, () => {
  let rig: HostRig
  let writer: Writer

  before(async () => {
    rig = await openHostRig({ hosts: 2 })
    await registerQuietProbe(rig.plane)
    writer = await bootWriter(rig, { name: 'writer', host: 'compute-1', volumes: 2, hasPort: true })
  })
  after(() => rig?.close())

  test('goes to the other host and back while its guest writes; nothing is lost, its network follows', async (t) => {
    for (const host of ['compute-2', 'compute-1']) {
      const pauseMs = await migrated(rig, writer, host)
      t.diagnostic(`to ${host}: ${pauseMs} ms`)
      assert.ok(pauseMs !== null && pauseMs > 0)
      assert.equal(rig.network.hostOfMac(writer.macs[0] as string), host, 'announced to the network')
      await writesOn(rig, writer)
      await assertNothingLost(rig, writer)
    }
  })
})
