import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from './guest-rig.ts'
import { Migration, openMigrationRig } from './live-migration-rig.ts'
import { caller } from './rig.ts'

test('a guest goes to another host and back, with a disk that was plugged in, and nothing is lost', async (t) => {
  const rig = await openMigrationRig(t)
  const [one, two] = rig.places
  await rig.boot(one)
  const { disk } = await rig.newVolume(one)
  await one.guests.agent().ensureDisk(caller, rig.serverId, disk)
  rig.spec = { ...rig.spec, disks: [...rig.spec.disks, disk] }
  await until('the guest writes to both', () => rig.acked(one) > 500)

  const there = await new Migration(rig, one, two).all()
  await rig.writesOn(two)
  const back = await new Migration(rig, two, one, 2).all()
  t.diagnostic(`standstill there ${there} ms, back by two streams ${back} ms`)
  assert.ok(there > 0 && back > 0, 'the standstill is measured')
  await rig.writesOn(one)
  await one.guests.agent().ensureGuestStopped(caller, rig.serverId, 20_000)
  await rig.verify(one, false)
})
