import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from './guest-rig.ts'
import { cutOff, kill, Migration, openMigrationRig, refused, slow, stateAt } from './live-migration-rig.ts'
import { caller, MiB } from './rig.ts'

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
    await until('it is known how much there is to copy', async () => {
      const { phase, remainingBytes, totalBytes } = await migration.phaseAfter('absent')
      assert.equal(phase, 'copying')
      return remainingBytes > 0 && totalBytes >= 128 * MiB
    })
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
    // Without a word all of it is sent; it can go on here all the same.
    await migration.arrived()
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
  await step('its destination is cut off while most of its memory is sent', async (migration) => {
    await migration.begin(slow)
    const unlimited = { downtimeMs: 2_000_000 }
    await migration.source.setMigrationLimits(caller, serverId, migration.migrationId, unlimited)
    await migration.toSwitchover()
    await migration.beginSwitchover()
    await migration.fence()
    await cutOff(rig, two)
    // More than the sockets' buffers hold: QEMU answers nobody until somebody reads it.
    const sent = migration.continue()
    await sleep(500)
    await migration.undo(true)
    assert.match((await sent).phase, /failed|absent/)
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
    await migration.arrived()
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
