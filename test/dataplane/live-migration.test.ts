import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { test } from 'node:test'
import { isDomainError } from '@volant/contract'
import { until } from './guest-rig.ts'
import { Migration, openMigrationRig } from './live-migration-rig.ts'
import type { MigrationRig, Place } from './live-migration-rig.ts'
import { caller, MiB } from './rig.ts'

const run = promisify(execFile)
const refused = (code: string) => (error: unknown) => isDomainError(error) && error.code === code

/** Slow enough that the guest's memory is still being copied when something happens to it. */
const slow = 2 * MiB

const stateAt = async (rig: MigrationRig, { guests }: Place): Promise<string> =>
  (await guests.agent().guestStatus(rig.serverId)).state

const kill = async (rig: MigrationRig, { guests }: Place): Promise<void> => {
  const { pid } = await guests.agent().guestStatus(rig.serverId)
  assert.ok(pid !== undefined, 'there is a process to kill')
  process.kill(pid, 'SIGKILL')
}

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

  const there = await new Migration(rig, one, two).all()
  await rig.writesOn(two)
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

test('whatever ends a migration before its commit, the guest goes on where it was', async (t) => {
  const rig = await openMigrationRig(t)
  const [one, two] = rig.places
  const { serverId } = rig
  await rig.boot(one)
  const step = async (what: string, act: (migration: Migration) => Promise<void>): Promise<void> => {
    const began = performance.now()
    const migration = new Migration(rig, one, two)
    await act(migration)
    await migration.undo()
    await migration.undo()
    await rig.writesOn(one)
    assert.equal(await stateAt(rig, one), 'running')
    t.diagnostic(`${what}: ${Math.round(performance.now() - began)} ms`)
  }

  await step('cancelled while its memory is copied; nothing else touches it meanwhile', async (migration) => {
    await migration.begin(slow)
    await migration.begin(slow)
    const seen = await migration.destination.inventory()
    assert.deepEqual(
      seen.map(({ kind, id, pids }) => [kind, id, pids.length]),
      [['guest', serverId, 1]],
    )
    const { phase, remainingBytes, totalBytes } = await migration.phaseAfter('absent')
    assert.equal(phase, 'copying')
    assert.ok(remainingBytes > 0 && totalBytes >= 128 * MiB, `${remainingBytes} of ${totalBytes}`)
    await assert.rejects(migration.source.rebootGuest(caller, serverId, 'hard'), refused('conflict'))
    await assert.rejects(migration.source.ensureGuestStopped(caller, serverId, 0), refused('conflict'))
    await assert.rejects(new Migration(rig, one, two).begin(), refused('conflict'))
    assert.equal(await stateAt(rig, one), 'running')
    assert.equal(await stateAt(rig, two), 'incoming')
    await assert.rejects(migration.destination.ensureGuest(caller, rig.spec), refused('conflict'))
    const early = migration.destination.ensureArrived(caller, serverId, migration.migrationId, false)
    await assert.rejects(early, refused('conflict'))
    await assert.rejects(migration.beginSwitchover(), refused('conflict'))
    await migration.source.setMigrationLimits(caller, serverId, migration.migrationId, { bandwidth: 4 * MiB })
  })
  await step('nobody goes on with it', async (migration) => {
    await migration.begin()
    await migration.toSwitchover()
    const { phase, error } = await migration.phaseAfter('pre-switchover')
    assert.equal(phase, 'failed')
    assert.match(error ?? '', /nobody went on with it/)
    await assert.rejects(migration.beginSwitchover(), refused('conflict'))
    await until('the guest goes on by itself', async () => (await stateAt(rig, one)) === 'running')
  })
  await step('its destination dies while memory is copied', async (migration) => {
    await migration.begin(slow)
    await kill(rig, two)
    assert.equal((await migration.phaseAfter('copying')).phase, 'failed')
    const incoming = await migration.destination.awaitIncoming(serverId, migration.migrationId, 10_000)
    assert.equal(incoming.phase, 'failed')
  })
  await step('its destination dies after the fence', async (migration) => {
    await migration.begin()
    await migration.toSwitchover()
    await migration.beginSwitchover()
    await migration.fence()
    await kill(rig, two)
    // The last of it may be in the sockets' buffers: the source may call it sent, but it never arrives.
    assert.match((await migration.continue()).phase, /failed|completed/)
    const incoming = await migration.destination.awaitIncoming(serverId, migration.migrationId, 10_000)
    assert.equal(incoming.phase, 'failed')
  })
  await step('it is abandoned when all of it is at the destination', async (migration) => {
    await migration.toArrived()
  })
  await step('another machine is expected', async (migration) => {
    await migration.begin(0, { sourceMachine: 'm3' })
    const { phase, error } = await migration.phaseAfter('copying')
    assert.equal(phase, 'failed')
    t.diagnostic(`to a destination that expects another machine: ${error}`)
  })
  await step('another machine answers', async (migration) => {
    await migration.begin(0, { tlsHostname: 'm3' })
    const { phase, error } = await migration.phaseAfter('copying')
    assert.equal(phase, 'failed')
    assert.match(error ?? '', /hostname m3/)
  })
  await step('the agent of the source is new, and nobody goes on', async (migration) => {
    await migration.begin()
    await migration.toSwitchover()
    await one.guests.restartAgent()
    await until('the guest goes on by itself', async () => (await stateAt(rig, one)) === 'running')
    assert.equal((await migration.phaseAfter('pre-switchover')).phase, 'failed')
  })
  await step('the agents are new after the fence, and it is abandoned', async (migration) => {
    await migration.begin()
    await migration.toSwitchover()
    await migration.beginSwitchover()
    await one.guests.restartAgent()
    await two.guests.restartAgent()
    await migration.fence()
    assert.equal((await migration.continue()).phase, 'completed')
    await one.guests.restartAgent()
  })
  await one.guests.agent().ensureGuestStopped(caller, serverId, 20_000)
  await rig.verify(one, false)
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
  assert.equal((await migration.phaseAfter('copying')).phase, 'switching')
  assert.equal((await migration.continue()).phase, 'completed')
  await restartBoth()
  assert.equal((await migration.continue()).phase, 'completed')
  await migration.arrived()
  await kill(rig, one)
  await until('its end is seen', async () => (await stateAt(rig, one)) === 'stopped')
  await migration.goOn()
  await two.guests.restartAgent()
  const { destination } = migration
  await destination.ensureArrived(caller, serverId, migration.migrationId, false)
  await destination.ensureNoIncoming(caller, serverId, migration.migrationId)
  assert.equal((await destination.awaitIncoming(serverId, migration.migrationId, 0)).phase, 'running')
  await rig.writesOn(two)

  const last = new Migration(rig, two, one)
  await last.begin(slow)
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
