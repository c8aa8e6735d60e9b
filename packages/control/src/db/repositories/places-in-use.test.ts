import assert from 'node:assert/strict'
import { test } from 'node:test'
import { attachmentOf, makeVolume, openWorld, type World } from '../../testing/world.ts'
import { placesInUse } from './places-in-use.ts'

/** A share's row, with a FlexVol, and an attachment, of its own. */
async function makeShare(world: World, options: { served: boolean }): Promise<void> {
  const id = crypto.randomUUID()
  const flexvol = { ...world.lma, id: crypto.randomUUID(), name: id, junctionPath: `/${id}` }
  await world.records.flexvols.create(flexvol)
  await world.backend.ensureFlexVol({ fence: 0 }, flexvol)
  const volume = await makeVolume(world, flexvol, { attached: false })
  await world.db.updateTable('volumes').set({ share_id: id }).where('id', '=', volume.id).execute()
  if (options.served) {
    await world.records.attachments.create({ ...attachmentOf(volume), host: 'lma-01', shareId: id })
  }
  await world.db
    .insertInto('shares')
    .values({
      id,
      project_id: 'p',
      user_id: 'u',
      size_gib: 1,
      status: 'available',
      share_type_id: 't',
      is_public: 0,
      snapshot_support: 1,
      create_share_from_snapshot_support: 1,
      revert_to_snapshot_support: 1,
      mount_snapshot_support: 1,
      root_squash: 0,
      cluster: world.lma.cluster,
      flexvol_id: flexvol.id,
      volume_id: volume.id,
      access_rules_status: 'active',
      metadata: '{}',
      availability_zone: 'nova',
      created_at: volume.createdAt,
    })
    .execute()
}

test("shares are counted by the LIF and the node that they need, and their content is no user's volume", async (t) => {
  const world = await openWorld()
  t.after(() => world.db.destroy())
  await makeVolume(world, world.lma, { attached: false })
  await makeShare(world, { served: true })
  await makeShare(world, { served: true })
  await makeShare(world, { served: false })
  const found = await placesInUse(world.db)
  const { cluster, lif } = world.lma
  assert.deepEqual(found.clusters, [{ name: cluster, volumes: 1 }])
  assert.deepEqual(found.shares, [
    { cluster, lif, node: null, shares: 1 },
    { cluster, lif, node: 'lma-01', shares: 2 },
  ])
  assert.equal(found.aggregates[0]?.images, 4)
})
