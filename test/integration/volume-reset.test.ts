/** `os-reset_status` on a volume with an operation under way: a real cancel, and never an edit of a row. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test, type TestContext } from 'node:test'
import { DomainError } from '@volant/contract'
import { bind, type RunRecord } from '@volant/saga'
import { migrateVolume } from '../../packages/control/src/operations/migrate-volume.ts'
import { assertVolumeClean } from '../../packages/control/src/testing/invariants.ts'
import { makeVolume, migrationInput, type World } from '../../packages/control/src/testing/world.ts'
import { openVolumeRig } from './volume-rig.ts'

/** A migration that goes as far as the test lets it: a copy that never ends, or a source that is never retired. */
async function migrating(
  t: TestContext,
  options: { attached: boolean; until: 'copying' | 'retiring'; locked?: boolean },
) {
  const gate = Promise.withResolvers<void>()
  const neverReady = { thresholdBytes: -1, patienceMs: 3_600_000, floorBps: 1 }
  const heldPorts = (world: World): World['ports'] => ({
    ...world.ports,
    ...(options.until === 'copying' ? { policy: { ...world.ports.policy, ...neverReady } } : {}),
    backend: {
      ...world.backend,
      ensureReadOnly: async (...args) => {
        await gate.promise
        return world.backend.ensureReadOnly(...args)
      },
    },
  })
  const rig = await openVolumeRig({ operations: (world) => [bind(migrateVolume, heldPorts(world))] })
  t.after(async () => {
    gate.resolve()
    await rig.stop()
  })
  const volume = await makeVolume(rig.world, rig.world.lma, { attached: options.attached })
  const [attachment] = await rig.world.records.attachments.ofVolume(volume.id)
  if (attachment) await ensureHeadOf(rig.world, attachment.id)
  const lockedFrom = options.locked ? volume.status : null
  await rig.world.records.volumes.update(volume.id, {
    migrationStatus: 'starting',
    ...(options.locked ? { status: 'maintenance' } : {}),
  })
  const input = { ...migrationInput(rig.world, volume), lockedFrom }
  const { id } = await rig.executor.start(migrateVolume, input)
  const step = options.until === 'copying' ? 'inSync' : 'retireSource'
  await until(async () => (await rig.executor.get(id)).step === step, `it reaches ${step}`)
  const reset = (fields: object) =>
    rig.call('POST', `/volumes/${volume.id}/action`, { as: 'admin', body: { 'os-reset_status': fields } })
  return { rig, volume, input, id, reset, gate }
}

async function ensureHeadOf(world: World, attachmentId: string): Promise<void> {
  const { ensureHead } = await import('../../packages/control/src/operations/head.ts')
  await ensureHead(world.ports, { fence: 0 }, await world.records.attachments.get(attachmentId))
}

async function until(test: () => Promise<boolean>, what: string): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (await test()) return
    await sleep(5)
  }
  assert.fail(`in vain: ${what}`)
}

const ended = async (run: Promise<RunRecord>): Promise<string> => (await run).state

for (const attached of [true, false]) {
  const where = attached ? 'in use' : 'of nobody'
  for (const fields of [{ migration_status: 'none' }, { status: 'available' }, { status: 'error' }]) {
    test(`a volume ${where} that is migrated, reset to ${JSON.stringify(fields)}: the migration is cancelled`, async (t) => {
      const { rig, volume, input, id, reset } = await migrating(t, { attached, until: 'copying' })
      assert.equal((await reset(fields)).status, 202)
      assert.equal(await ended(rig.executor.ended(id)), 'cancelled')
      const now = await rig.world.records.volumes.get(volume.id)
      assert.deepEqual([now.status, now.migrationStatus], [attached ? 'in-use' : 'available', null])
      await assertVolumeClean(rig.world, volume.id, input, 'source')
    })
  }
}

test('a volume that was locked for its migration is free again', async (t) => {
  const { rig, volume, reset } = await migrating(t, { attached: false, until: 'copying', locked: true })
  assert.equal((await reset({ migration_status: 'none' })).status, 202)
  assert.equal((await rig.world.records.volumes.get(volume.id)).status, 'available')
})

test('past the point of no return a reset is refused with the reason, and changes nothing', async (t) => {
  const { rig, volume, id, reset, gate } = await migrating(t, { attached: false, until: 'retiring' })
  const before = await rig.world.records.volumes.get(volume.id)
  for (const fields of [{ migration_status: 'none' }, { status: 'error' }, { attach_status: 'detached' }]) {
    const answer = await reset(fields)
    assert.equal(answer.status, 409, JSON.stringify(fields))
    const { message } = answer.body.conflictingRequest
    assert.match(message, new RegExp(`Operation ${id} \\(volume\\.migrate\\) is running at 'retireSource'`))
    assert.match(message, /can be undone no more/)
  }
  assert.deepEqual(await rig.world.records.volumes.get(volume.id), before)
  gate.resolve()
  assert.equal(await ended(rig.executor.ended(id)), 'succeeded')
})

test('an undo that gets stuck is told, with where to look', async (t) => {
  const { rig, id, reset } = await migrating(t, { attached: false, until: 'copying' })
  const node = rig.world.nodes.get('lmb-01')
  for (let i = 0; i < 8; i++)
    node?.failNext('ensureNoImage', new DomainError('unavailable', 'lmb-01 is away'))
  const answer = await reset({ migration_status: 'none' })
  assert.equal(answer.status, 409)
  assert.match(answer.body.conflictingRequest.message, /lmb-01 is away.*volant operations show/)
  const again = await reset({ migration_status: 'none' })
  assert.equal(again.status, 409, 'it is cancelled already, and still stuck')
  await rig.executor.resume(id)
  assert.equal(await ended(rig.executor.ended(id)), 'cancelled')
})

test('a volume that is only read by another’s creation is left alone, and so is the creation', async (t) => {
  const gate = Promise.withResolvers<void>()
  const rig = await openVolumeRig({ reflink: false })
  t.after(async () => {
    gate.resolve()
    await rig.stop()
  })
  const source = await rig.create()
  const { backend } = rig.world
  const make = backend.ensureImageFrom.bind(backend)
  backend.ensureImageFrom = async (...args) => {
    await gate.promise
    return make(...args)
  }
  const made = await rig.call('POST', '/volumes', { body: { volume: { size: 1, source_volid: source.id } } })
  const copy = made.body.volume.id as string
  const body = { 'os-reset_status': { status: 'error' } }
  const answer = await rig.call('POST', `/volumes/${source.id}/action`, { as: 'admin', body })
  assert.equal(answer.status, 409)
  assert.match(
    answer.body.conflictingRequest.message,
    new RegExp(`of volume ${copy} uses volume ${source.id}`),
  )
  gate.resolve()
  await rig.settle(copy, ['available'])
})

test('a volume on which nothing works is reset as asked', async (t) => {
  const rig = await openVolumeRig()
  t.after(() => rig.stop())
  const { id } = await rig.create()
  const body = { 'os-reset_status': { status: 'error', migration_status: 'error' } }
  assert.equal((await rig.call('POST', `/volumes/${id}/action`, { as: 'admin', body })).status, 202)
  const now = await rig.world.records.volumes.get(id)
  assert.deepEqual([now.status, now.migrationStatus], ['error', 'error'])
})
