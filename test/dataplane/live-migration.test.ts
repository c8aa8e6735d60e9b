import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { test } from 'node:test'
import type { DiskLatency } from '@volant/contract'
import { until } from './guest-rig.ts'
import { kill, Migration, openMigrationRig, refused, slow, stateAt } from './live-migration-rig.ts'
import { caller } from './rig.ts'

const run = promisify(execFile)

test('a guest goes to another host and back, with a disk that was plugged in, and nothing is lost', async (t) => {
  const netns = `vm-${process.pid}`
  const ip = async (...words: string[]): Promise<string> => (await run('ip', words)).stdout
  await ip('netns', 'add', netns)
  t.after(() => ip('netns', 'delete', netns))
  await ip('-n', netns, 'link', 'set', 'lo', 'up')
  await ip('-n', netns, 'link', 'add', 'br0', 'type', 'bridge')
  await ip('-n', netns, 'link', 'set', 'br0', 'up')
  const ports = async (): Promise<string[]> =>
    [...(await ip('-n', netns, '-br', 'link', 'show', 'master', 'br0')).matchAll(/^vt\w+/gm)].map(String)
  /** Where the bridge has heard the guest's address last. */
  const heardAt = async (): Promise<string | undefined> =>
    /^fa:16:3e:00:00:01 dev (\w+)/m.exec(
      (await run('bridge', ['-n', netns, 'fdb', 'show', 'br', 'br0'])).stdout,
    )?.[1]
  const rig = await openMigrationRig(t, netns)
  const [one, two] = rig.places
  await rig.boot(one, [{ bridge: 'br0', mac: 'fa:16:3e:00:00:01' }])
  assert.equal((await ports()).length, 1)
  assert.deepEqual((await one.guests.agent().facts()).bridges, ['br0'])
  const { disk } = await rig.newVolume(one)
  await one.guests.agent().ensureDisk(caller, rig.serverId, disk)
  rig.spec = { ...rig.spec, disks: [...rig.spec.disks, disk] }
  await until('the guest writes to both', () => rig.acked(one) > 500)

  const counted = await one.guests.agent().guestLatency(rig.serverId)
  assert.equal(counted.length, rig.spec.disks.length)
  const there = await new Migration(rig, one, two).all()
  await rig.writesOn(two)
  const arrived = await two.guests.agent().guestLatency(rig.serverId)
  assert.deepEqual(
    arrived.map(({ volumeId }) => volumeId).sort(),
    counted.map(({ volumeId }) => volumeId).sort(),
  )
  await rig.writesOn(two)
  const written = await two.guests.agent().guestLatency(rig.serverId)
  const writes = ({ writes: { counts } }: DiskLatency): number =>
    counts.reduce((total, one) => total + one, 0)
  assert.ok(
    written.every((disk) => writes(disk) > 0),
    'it is counted where it arrived',
  )
  assert.equal((await ports()).length, 1, 'the source took its port along')
  assert.equal(await heardAt(), (await ports())[0], 'the network was told where the guest is now')
  assert.match(two.guests.console(rig.serverId), /PROBE ready/, 'the console begins where the guest began')
  const back = await new Migration(rig, two, one, 2).all()
  t.diagnostic(`standstill there ${there} ms, back by two streams ${back} ms`)
  assert.ok(there > 0 && back > 0, 'the standstill is measured')
  await rig.writesOn(one)

  await one.guests.agent().ensureGuestPaused(caller, rig.serverId, true)
  const given = new Migration(rig, one, two)
  await given.toArrived()
  await given.undo()
  assert.equal(await stateAt(rig, one), 'paused', 'it is still paused where it was')
  await one.guests.agent().ensureGuestPaused(caller, rig.serverId, false)
  await rig.writesOn(one)
  await one.guests.agent().ensureGuestPaused(caller, rig.serverId, true)
  await new Migration(rig, one, two).all(true)
  assert.equal(await stateAt(rig, two), 'paused', 'what its user paused stays so')
  await two.guests.agent().ensureGuestPaused(caller, rig.serverId, false)
  await rig.writesOn(two)

  await two.guests.agent().ensureNoDisk(caller, rig.serverId, disk.attachmentId, 60_000)
  await two.guests.agent().ensureGuestStopped(caller, rig.serverId, 20_000)
  await rig.verify(two, false)
})

test('a migration outlives the agents at both ends, in every phase; a source that dies late changes nothing', async (t) => {
  const rig = await openMigrationRig(t)
  const [one, two] = rig.places
  const restartBoth = async (): Promise<void> => {
    await Promise.all([one.guests.restartAgent(), two.guests.restartAgent()])
  }
  await rig.boot(one)
  const migration = new Migration(rig, one, two)
  const { serverId } = rig
  await migration.begin(slow)
  await migration.killStandby()
  await restartBoth()
  assert.equal((await migration.phaseAfter('absent')).phase, 'copying')
  assert.equal(await stateAt(rig, two), 'incoming')
  await migration.source.setMigrationLimits(caller, serverId, migration.migrationId, { bandwidth: 0 })
  await migration.toSwitchover()
  await restartBoth()
  await migration.beginSwitchover()
  await migration.beginSwitchover()
  await restartBoth()
  await migration.fence()
  assert.match((await migration.phaseAfter('copying')).phase, /^(switching|completed)$/, 'the rest is sent')
  assert.equal((await migration.continue()).phase, 'completed')
  await restartBoth()
  assert.equal((await migration.continue()).phase, 'completed')
  await migration.arrived()
  await kill(rig, one)
  await until('its end is seen', async () => (await stateAt(rig, one)) === 'stopped')
  const record = join(two.guests.folder, 'state/guests', serverId, 'guest.json')
  const before = readFileSync(record)
  await migration.goOn()
  await until('that it goes on is on disk', async () => !readFileSync(record).equals(before))
  // The agent ends when the guest goes on and nothing of that is on disk.
  await two.guests.restartAgent(() => writeFileSync(record, before))
  assert.equal(await stateAt(rig, two), 'incoming')
  await migration.destination.ensureNoIncoming(caller, serverId, migration.migrationId)
  assert.equal(await stateAt(rig, two), 'incoming', 'a guest that runs is not removed')
  for (let round = 1; round <= 2; round++) {
    await migration.destination.ensureArrived(caller, serverId, migration.migrationId, false)
    assert.equal(await stateAt(rig, two), 'running')
  }
  await two.guests.restartAgent()
  const { destination } = migration
  await destination.ensureArrived(caller, serverId, migration.migrationId, false)
  await destination.ensureNoIncoming(caller, serverId, migration.migrationId)
  assert.equal((await destination.awaitIncoming(serverId, migration.migrationId, 0)).phase, 'running')
  await rig.writesOn(two)

  const last = new Migration(rig, two, one)
  await last.begin(slow)
  // A destination that nobody has connected to yet does not learn of it.
  await until('it sends', async () => (await last.phaseAfter('absent')).remainingBytes > 0)
  const waiting = last.destination.awaitIncoming(serverId, last.migrationId, 30_000)
  await kill(rig, two)
  assert.equal((await waiting).phase, 'failed', 'what waits for the guest learns of its end')
  assert.equal((await last.phaseAfter('copying')).phase, 'failed')
  const stopped = await two.guests.agent().guestStatus(serverId)
  assert.deepEqual([stopped.state, /ended unexpectedly/.test(stopped.reason ?? '')], ['stopped', true])
  const none = last.destination.ensureArrived(caller, serverId, last.migrationId, false)
  await assert.rejects(none, refused('notFound'))
  await last.undo()
  await rig.verify(two, false)
})
