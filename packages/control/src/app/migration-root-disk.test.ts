import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { isDomainError } from '@volant/contract'
import { administrator, openUndoRig } from '../testing/undo-rig.ts'

const serverId = '5e5e5e5e-0000-4000-8000-000000000001'

/** A server that runs, whose root disk is the rig's volume. */
async function rootDisk(t: TestContext) {
  const rig = await openUndoRig(t, { attached: true })
  const { volumes, attachments } = rig.world.records
  const [attachment] = await attachments.ofVolume(rig.volumeId)
  await volumes.update(rig.volumeId, { rootOf: serverId })
  await attachments.update(attachment?.id ?? '', { rootOf: serverId, serverId })
  return rig
}

const isNotFound = (words: RegExp) => (error: unknown) =>
  isDomainError(error) && error.code === 'notFound' && words.test(error.message)

test('a root disk goes to another cluster while its server runs, and comes back by an undo', async (t) => {
  const rig = await rootDisk(t)
  assert.equal(await rig.migrations.rootDiskOf(administrator, serverId), rig.volumeId)
  const request = { principal: administrator, volumeId: rig.volumeId, host: rig.pools.lmb, lockVolume: false }
  assert.equal((await rig.migrations.plan(request)).ok, true)
  const moved = await rig.migrate('lmb')
  const { volumes } = rig.world.records
  const { flexvolId, rootOf } = await volumes.get(rig.volumeId)
  assert.deepEqual([flexvolId, rootOf], [rig.world.lmb.id, serverId])
  assert.equal((await rig.undo(moved)).run.state, 'succeeded')
  assert.equal((await volumes.get(rig.volumeId)).flexvolId, rig.world.lma.id)
})

test('only an administrator asks for it, and not by Cinder; a server without one, and a share, are not found', async (t) => {
  const rig = await rootDisk(t)
  const { migrations, pools, volumeId } = rig
  const request = { principal: administrator, volumeId, host: pools.lmb, lockVolume: false }
  await assert.rejects(
    migrations.startMigration({ ...request, forceHostCopy: false }),
    isNotFound(/^Volume .* could not be found/),
  )
  await assert.rejects(migrations.rootDiskOf(administrator, 'x'), isNotFound(/^Server x has no root disk/))
  const member = { ...administrator, roles: ['member'] }
  await assert.rejects(migrations.rootDiskOf(member, serverId), /Policy doesn't allow/)
  await assert.rejects(migrations.plan({ ...request, principal: member }), /Policy doesn't allow/)
  await rig.world.records.volumes.update(volumeId, { rootOf: null, shareId: 'share' })
  await assert.rejects(migrations.start(request), isNotFound(/^Volume .* could not be found/))
  assert.equal((await rig.world.records.volumes.get(volumeId)).migrationStatus, null)
})
