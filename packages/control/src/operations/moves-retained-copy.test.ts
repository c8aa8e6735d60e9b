/** The source of a volume's migration that is kept for a while, and whose node is gone: no server's way hangs on it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DomainError } from '@volant/contract'
import { bind, Executor, MemoryStore } from '@volant/saga'
import { hurriedPolicy } from '@volant/saga/testing/every-step.ts'
import { openEvacuation } from '../testing/evacuation.ts'
import {
  apart,
  assertAtOnePlace,
  openLiveMigration,
  type LiveMigrationWorld,
} from '../testing/live-migration.ts'
import type { World } from '../testing/world.ts'
import { fenceServer } from './fence.ts'
import { liveMigrateServer } from './live-migrate-server.ts'

const away = async (): Promise<never> => {
  throw new DomainError('unavailable', 'lmb-01 does not answer.')
}

/** The volume's earlier source is kept at lmb, whose node does not answer any more. */
async function keepSource({ records, lmb, nodes }: World, volumeId: string): Promise<void> {
  const truth = (await records.copies.ofVolume(volumeId))[0]
  assert.ok(truth)
  const { node, aggregate } = lmb
  const imageId = crypto.randomUUID()
  await records.copies.create({ ...truth, imageId, flexvolId: lmb.id, node, aggregate, state: 'retained' })
  Object.assign(nodes.get('lmb-01') ?? {}, { ensureNoExport: away, listExports: away })
}

async function migrate(it: LiveMigrationWorld): Promise<string> {
  const operations = [bind(liveMigrateServer, it.ports)]
  const policy = { ...hurriedPolicy }
  const executor = new Executor({ store: new MemoryStore(), owner: 'test', operations, policy })
  await executor.begin()
  const { id } = await executor.start(liveMigrateServer, it.input)
  const { state } = await executor.ended(id)
  await executor.stop()
  return state
}

test('a server is live-migrated', async () => {
  const it = await openLiveMigration(apart)
  await keepSource(it.world, it.input.disks[0]?.volumeId ?? '')
  assert.equal(await migrate(it), 'succeeded')
  await assertAtOnePlace(it, 'destination')
  await it.close()
})

test('a live migration that fails at its switchover goes back', async () => {
  const it = await openLiveMigration(apart)
  await keepSource(it.world, it.input.disks[0]?.volumeId ?? '')
  it.destination.awaitIncoming = away
  assert.equal(await migrate(it), 'failed')
  await assertAtOnePlace(it, 'source')
  await it.close()
})

test('a host that was given up is used again', async () => {
  const it = await openEvacuation()
  await keepSource(it.world, it.volume.id)
  await fenceServer(it.ports, { fence: 1 }, it.server.id, new Date())
  await it.world.records.attachments.update(it.attachment.id, {
    headId: crypto.randomUUID(),
    host: 'compute-2',
  })
  await it.ports.servers.update(it.server.id, { host: 'compute-2', taskState: null })
  assert.equal(await it.comesBack(), 1)
  assert.deepEqual(await it.ports.fencedHeads.ofHost('compute-1'), [])
  await it.close()
})
