import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { DomainError, isDomainError } from '@volant/contract'
import type { Principal } from '../domain/principal.ts'
import type { Share } from '../domain/share.ts'
import { addShare, sharePorts } from '../testing/shares.ts'
import { openWorld } from '../testing/world.ts'
import { createShareMigrations, type ShareMigrationSources } from './share-migration.ts'

const admin: Principal = {
  ...{ userId: 'u', userName: 'u', userDomainId: 'd', projectId: 'p', projectName: 'p' },
  ...{ roles: ['admin'], systemScope: false, expiresAt: 0 },
}

/** A share whose migration is over, seen by a request when it was not. */
async function open(t: TestContext, over: Partial<Share>) {
  const world = await openWorld()
  t.after(() => world.db.destroy())
  const ports = sharePorts(world)
  const migration = { operationId: 'op-1', node: 'lma-01', aggregate: 'aggr2', shareTypeId: null }
  const held = { status: 'migrating', taskState: 'migration_driver_phase1_done', migration } as const
  const share = await addShare(ports, { ...held, flexvolId: 'flexvol-1' })
  await ports.shares.update(share.id, over)
  const shares = { ...ports.shares, find: async () => share }
  const none = new DomainError('conflict', 'No move of it is under way.')
  const moves = { trigger: () => Promise.reject(none), plan: () => Promise.reject(none) }
  const sources = { ...ports, shares, moves } as unknown as ShareMigrationSources
  return { share, records: ports.shares, migrations: createShareMigrations(sources) }
}

for (const [taskState, reason] of [
  ['migration_cancelled', /already cancelled/],
  ['migration_success', /already completed/],
] as const) {
  test(`a completion that comes too late leaves ${taskState} as it is`, async (t) => {
    const { share, records, migrations } = await open(t, { status: 'available', taskState })
    await assert.rejects(
      migrations.complete(admin, share.id),
      (error) => isDomainError(error) && error.code === 'invalid' && reason.test(error.message),
    )
    assert.equal((await records.get(share.id)).taskState, taskState)
  })
}

test('a completion that finds no move leaves the state to the migration, which still has it', async (t) => {
  const { share, records, migrations } = await open(t, {})
  await assert.rejects(migrations.complete(admin, share.id), /No move/)
  assert.equal((await records.get(share.id)).taskState, 'migration_driver_phase1_done')
})
