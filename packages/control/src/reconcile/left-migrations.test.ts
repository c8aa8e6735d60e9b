import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DomainError } from '@volant/contract'
import { bind, Executor, MemoryStore } from '@volant/saga'
import { hurriedPolicy } from '@volant/saga/testing/every-step.ts'
import { pino } from 'pino'
import { liveMigrateServer } from '../operations/live-migrate-server.ts'
import {
  apart,
  assertAtOnePlace,
  openLiveMigration,
  type LiveMigrationWorld,
} from '../testing/live-migration.ts'
import { finishLeftMigrations } from './left-migrations.ts'

const away = async (): Promise<never> => {
  throw new DomainError('unavailable', 'the host does not answer')
}

async function carryOut(it: LiveMigrationWorld): Promise<string> {
  const operations = [bind(liveMigrateServer, it.ports)]
  const executor = new Executor({
    store: new MemoryStore(),
    owner: 'test',
    operations,
    policy: hurriedPolicy,
  })
  await executor.begin()
  const { id } = await executor.start(liveMigrateServer, it.input)
  const { state } = await executor.ended(id)
  await executor.stop()
  return state
}

const finish = async (it: LiveMigrationWorld, host: 'source' | 'destination'): Promise<void> => {
  const agent = it[host]
  const ports = { ...it.ports, log: pino({ level: 'silent' }) }
  await finishLeftMigrations(ports, { fence: 99 }, agent.host, await agent.listGuests())
}

test('a source that was away when its migration was given up has its access again, and its guest goes on', async () => {
  const it = await openLiveMigration(apart)
  const { ensureMigrationAbandoned } = it.source
  it.source.continueMigration = away
  it.source.ensureMigrationAbandoned = away
  assert.equal(await carryOut(it), 'failed')
  assert.equal((await it.source.guestStatus(it.server.id)).state, 'paused')
  it.source.ensureMigrationAbandoned = ensureMigrationAbandoned
  await it.ports.servers.update(it.server.id, { taskState: 'migrating' })
  await finish(it, 'source')
  assert.equal((await it.source.guestStatus(it.server.id)).state, 'paused', 'somebody works on it')
  await it.ports.servers.update(it.server.id, { taskState: null })
  await finish(it, 'source')
  await assertAtOnePlace(it, 'source')
  await it.close()
})

test('a guest whose user paused it stays so', async () => {
  const it = await openLiveMigration(apart, { vmState: 'paused', powerState: 3 })
  assert.equal(await carryOut(it), 'succeeded')
  await finish(it, 'destination')
  await assertAtOnePlace(it, 'destination', 'paused')
  await it.close()
})

test('a destination that was away since the commit is told to let the guest go on', async () => {
  const it = await openLiveMigration(apart)
  const { ensureArrived } = it.destination
  it.destination.ensureArrived = away
  assert.equal(await carryOut(it), 'succeeded')
  const server = await it.ports.servers.get(it.server.id)
  assert.match(
    server.fault?.message ?? '',
    /compute-2 does not answer since the server was live-migrated to it/,
  )
  assert.equal((await it.destination.guestStatus(it.server.id)).state, 'incoming')
  it.destination.ensureArrived = ensureArrived
  await finish(it, 'destination')
  await assertAtOnePlace(it, 'destination')
  await it.close()
})

test('a paused guest that was left in its switchover can be changed again, and stays paused', async () => {
  const it = await openLiveMigration(apart, { vmState: 'paused', powerState: 3 })
  const { ensureMigrationAbandoned } = it.source
  it.source.continueMigration = away
  it.source.ensureMigrationAbandoned = away
  assert.equal(await carryOut(it), 'failed')
  it.source.ensureMigrationAbandoned = ensureMigrationAbandoned
  await finish(it, 'source')
  await assertAtOnePlace(it, 'source', 'paused')
  await it.source.ensureGuestPaused({ fence: 100 }, it.server.id, false)
  await it.close()
})

test('a guest that runs on by itself, for its destination has died, can be changed again', async () => {
  const it = await openLiveMigration(apart)
  const { ensureMigrationAbandoned } = it.source
  it.source.continueMigration = async () => {
    it.source.failMigration(it.server.id, 'Broken pipe')
    return away()
  }
  it.source.ensureMigrationAbandoned = away
  assert.equal(await carryOut(it), 'failed')
  const { state, isLeaving } = await it.source.guestStatus(it.server.id)
  assert.deepEqual([state, isLeaving], ['running', true])
  it.source.ensureMigrationAbandoned = ensureMigrationAbandoned
  await finish(it, 'source')
  assert.equal((await it.source.guestStatus(it.server.id)).isLeaving, undefined)
  await assertAtOnePlace(it, 'source')
  await it.close()
})

test('a destination whose agent ended between writing down the arrival and telling QEMU is told again', async () => {
  const it = await openLiveMigration(apart)
  const { ensureArrived } = it.destination
  it.destination.ensureArrived = async (caller, serverId, migrationId) => {
    await ensureArrived(caller, serverId, migrationId, true)
    return away()
  }
  assert.equal(await carryOut(it), 'succeeded')
  it.destination.ensureArrived = ensureArrived
  assert.equal((await it.destination.guestStatus(it.server.id)).state, 'paused')
  await finish(it, 'destination')
  await assertAtOnePlace(it, 'destination')
  await it.close()
})
