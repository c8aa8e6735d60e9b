import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { until } from '../migration/plane.ts'
import { openHostRig, type HostRig } from './rig.ts'
import { skipHosts } from './network.ts'

describe('two networks', { skip: skipHosts }, () => {
  let rig: HostRig
  before(async () => {
    rig = await openHostRig({ hosts: 2 })
  })
  after(() => rig?.close())

  test('a host that is cut off from the control plane is away, and comes back', async () => {
    const [host] = rig.hosts
    assert.ok(host)
    host.cut('control')
    await until('it is away', 30_000, async () => !(await host.isUp()))
    host.heal('control')
    await until('it is up', 30_000, () => host.isUp())
  })
})
