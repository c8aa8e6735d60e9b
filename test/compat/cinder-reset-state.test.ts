/** Debian's `cinder reset-state`, unmodified, on a volume that is being migrated; over simulated nodes. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test, type TestContext } from 'node:test'
import { bind } from '@volant/saga'
import { migrateVolume } from '../../packages/control/src/operations/migrate-volume.ts'
import { assertVolumeClean } from '../../packages/control/src/testing/invariants.ts'
import { migrationInput } from '../../packages/control/src/testing/world.ts'
import { openVolumeRig, type VolumeRig } from '../integration/volume-rig.ts'
import { startCloud, type Cloud } from './stock-client.ts'

/** A volume `data` whose migration stands at the step until the gate opens. */
async function migrating(t: TestContext, at: 'inSync' | 'retireSource') {
  const gate = Promise.withResolvers<void>()
  const made: { rig?: VolumeRig } = {}
  const cloud: Cloud = await startCloud(async ({ identity }) => {
    made.rig = await openVolumeRig({
      tokens: identity.tokens,
      operations: ({ ports, backend }) => {
        const endless = { ...ports.policy, thresholdBytes: -1, patienceMs: 3_600_000 }
        const retire: typeof backend.ensureReadOnly = async (...args) => {
          await gate.promise
          return backend.ensureReadOnly(...args)
        }
        const policy = at === 'inSync' ? endless : ports.policy
        return [bind(migrateVolume, { ...ports, policy, backend: { ...backend, ensureReadOnly: retire } })]
      },
    })
    return [made.rig.service]
  })
  const rig = made.rig as VolumeRig
  t.after(async () => {
    gate.resolve()
    await cloud.stop()
    await rig.stop()
  })
  const created = await cloud.run('cinder', ['create', '--name', 'data', '--poll', '1'])
  assert.equal(created.code, 0, created.stderr)
  const [row] = await rig.world.db.selectFrom('volumes').select('id').execute()
  const volume = await rig.world.records.volumes.get(row?.id ?? '')
  await rig.world.records.volumes.update(volume.id, { migrationStatus: 'starting' })
  const input = migrationInput(rig.world, volume)
  const { id } = await rig.executor.start(migrateVolume, input)
  for (let i = 0; (await rig.executor.get(id)).step !== at; i++) {
    assert.ok(i < 4000, `the migration does not reach ${at}: ${(await rig.executor.get(id)).step}`)
    await sleep(5)
  }
  return { cloud, rig, volume, input, id, gate }
}

for (const options of [['--reset-migration-status'], ['--state', 'available'], ['--state', 'error']]) {
  test(`cinder reset-state ${options.join(' ')} cancels the migration and leaves the volume as it was`, async (t) => {
    const { cloud, rig, volume, input, id } = await migrating(t, 'inSync')
    const { code, stdout, stderr } = await cloud.run('cinder', ['reset-state', ...options, 'data'])
    assert.equal(code, 0, stdout + stderr)
    assert.equal((await rig.executor.ended(id)).state, 'cancelled')
    const now = await rig.world.records.volumes.get(volume.id)
    assert.deepEqual([now.status, now.migrationStatus], ['available', null])
    await assertVolumeClean(rig.world, volume.id, input, 'source')
  })
}

test('after the cutover cinder reset-state fails with the reason, and the migration ends', async (t) => {
  const { cloud, rig, volume, input, id, gate } = await migrating(t, 'retireSource')
  const refused = await cloud.run('cinder', ['reset-state', '--reset-migration-status', 'data'])
  assert.notEqual(refused.code, 0)
  const said = refused.stdout + refused.stderr
  assert.match(said, new RegExp(`${id}.*retireSource.*can be undone no more[^]*HTTP 409`))
  gate.resolve()
  assert.equal((await rig.executor.ended(id)).state, 'succeeded')
  assert.equal((await rig.world.records.volumes.get(volume.id)).migrationStatus, 'success')
  await assertVolumeClean(rig.world, volume.id, input, 'target')
})
