import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bind, Executor, MemoryStore } from '@volant/saga'
import { apart, openLiveMigration } from '../testing/live-migration.ts'
import { liveMigrateServer } from './live-migrate-server.ts'

/** What the source's agent says of the guest's standstill when all is sent; what the record has of the pause. */
async function pauseWhere(said: { stillMs?: number; downtimeMs?: number }): Promise<number | null> {
  const it = await openLiveMigration(apart)
  const send = it.source.continueMigration.bind(it.source)
  it.source.continueMigration = async (...args) => {
    const { stillMs: _, downtimeMs: __, ...status } = await send(...args)
    return { ...status, ...said }
  }
  const executor = new Executor({
    store: new MemoryStore(),
    owner: 'test',
    operations: [bind(liveMigrateServer, it.ports)],
  })
  await executor.begin()
  const { id } = await executor.start(liveMigrateServer, it.input)
  assert.equal((await executor.ended(id)).state, 'succeeded')
  await executor.stop()
  const { downtimeMs } = await it.ports.serverMigrations.get(id)
  await it.close()
  return downtimeMs
}

test('a pause counts from the stop that the agent saw, else from what QEMU measured, else it is not known', async () => {
  const [seen, measured, unknown] = [
    await pauseWhere({ stillMs: 500_000, downtimeMs: 1000 }),
    await pauseWhere({ downtimeMs: 1000 }),
    await pauseWhere({}),
  ]
  assert.ok(seen !== null && seen > 500_000, `${seen} ms`)
  assert.ok(measured !== null && measured > 1000 && measured < 500_000, `${measured} ms`)
  assert.equal(unknown, null)
})
