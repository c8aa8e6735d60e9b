import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GuestSpec } from '@volant/contract'
import { createSimulatedComputeAgent } from './compute.ts'

const caller = { fence: 1 }
const guest: GuestSpec = { serverId: 's1', name: 's1', vcpus: 1, memoryMiB: 128, disks: [], nics: [] }
const limits = { downtimeMs: 300, bandwidth: 0, autoConverge: true }

async function open() {
  const source = createSimulatedComputeAgent({ host: 'h1' })
  const destination = createSimulatedComputeAgent({ host: 'h2' })
  await source.ensureGuest(caller, guest)
  const hardware = await source.guestHardware('s1')
  const incoming = { migrationId: 'm', guest, hardware, sourceMachine: 'x', channels: 1 }
  const begin = async () => {
    const to = await destination.ensureIncoming(caller, incoming)
    await source.ensureMigration(caller, 's1', { migrationId: 'm', to, limits, channels: 1 })
  }
  return { source, destination, begin, incoming }
}

test('a guest goes from one simulated host to the other', async () => {
  const { source, destination, begin } = await open()
  await begin()
  await begin()
  assert.equal((await destination.guestStatus('s1')).state, 'incoming')
  await assert.rejects(destination.ensureArrived(caller, 's1', 'm', false), { code: 'conflict' })
  await assert.rejects(source.rebootGuest(caller, 's1', 'hard'), { code: 'conflict' })
  assert.equal((await source.awaitMigration('s1', 'm', 'copying', 1000)).phase, 'pre-switchover')
  await assert.rejects(source.continueMigration(caller, 's1', 'm', 1000), { code: 'conflict' })
  await source.beginSwitchover(caller, 's1', 'm')
  assert.equal((await source.continueMigration(caller, 's1', 'm', 1000)).phase, 'completed')
  assert.equal((await destination.awaitIncoming('s1', 'm', 1000)).phase, 'arrived')
  assert.equal((await source.guestStatus('s1')).state, 'paused')
  await destination.ensureArrived(caller, 's1', 'm', false)
  assert.equal((await destination.guestStatus('s1')).state, 'running')
  await destination.ensureNoIncoming(caller, 's1', 'm')
  assert.equal((await destination.guestStatus('s1')).state, 'running')
  await source.ensureNoGuest(caller, 's1')
  assert.equal((await source.guestStatus('s1')).state, 'absent')
})

test('a guest goes on where it was after each fault', async () => {
  for (const fault of ['destination', 'expired', 'qemu', 'abandoned', 'late'] as const) {
    const { source, destination, begin } = await open()
    source.holdMigrations(true)
    await begin()
    if (fault === 'destination') destination.crash('s1')
    if (fault === 'qemu') source.failMigration('s1', 'broken')
    if (fault === 'expired' || fault === 'late') source.advanceMigration('s1')
    if (fault === 'expired') {
      source.expireSwitchover('s1')
      await assert.rejects(source.beginSwitchover(caller, 's1', 'm'), { code: 'conflict' })
    }
    if (fault === 'late') {
      await source.beginSwitchover(caller, 's1', 'm')
      destination.crash('s1')
      assert.equal((await source.continueMigration(caller, 's1', 'm', 1000)).phase, 'failed')
    }
    if (fault !== 'abandoned') {
      assert.equal((await source.awaitMigration('s1', 'm', 'pre-switchover', 1000)).phase, 'failed', fault)
    }
    await source.ensureMigrationAbandoned(caller, 's1', 'm')
    await source.ensureMigrationAbandoned(caller, 's1', 'm')
    assert.equal((await source.awaitMigration('s1', 'm', 'copying', 1000)).phase, 'absent', fault)
    assert.equal((await source.guestStatus('s1')).state, 'running', fault)
    assert.equal((await destination.awaitIncoming('s1', 'm', 1000)).phase, 'failed', fault)
    await destination.ensureNoIncoming(caller, 's1', 'm')
    assert.equal((await destination.guestStatus('s1')).state, 'absent', fault)
  }
})

test('a source that dies ends what waited for its guest, and a second migration is refused beside the first', async () => {
  const { source, destination, begin, incoming } = await open()
  source.holdMigrations(true)
  await begin()
  await assert.rejects(destination.ensureIncoming(caller, { ...incoming, migrationId: 'n' }), {
    code: 'conflict',
  })
  const waiting = destination.awaitIncoming('s1', 'm', 10_000)
  source.crash('s1')
  assert.equal((await waiting).phase, 'failed')
  assert.equal((await source.guestStatus('s1')).state, 'stopped')
  assert.equal((await source.awaitMigration('s1', 'm', 'copying', 10_000)).phase, 'failed')
  await assert.rejects(destination.ensureArrived(caller, 's1', 'm', false), { code: 'notFound' })
})
