import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import { imageBytesFor, junctionPathOf, type Share } from '../domain/share.ts'
import {
  addShare,
  assertNoShareLitter,
  assertServed,
  creationOf,
  makeShare,
  ruleOf,
  shareAgentOf,
  shareMessagesOf,
  sharePorts,
} from '../testing/shares.ts'
import { contentOf, imageIn, makeSnapshot } from '../testing/snapshots.ts'
import { openWorld, type Machines, type World } from '../testing/world.ts'
import {
  applyShareAccess,
  type ApplyShareAccessInput,
  type ApplyShareAccessPorts,
} from './apply-share-access.ts'
import { createShare, type CreateShareInput, type CreateSharePorts } from './create-share.ts'
import { deleteShare, type DeleteShareInput, type DeleteSharePorts } from './delete-share.ts'

const here: Machines = { lma: 'm1', lmb: 'm1', compute: 'm1' }
/** The node with the LIF is not the node with the image. */
const apart: Machines = { lma: 'store-a', lma2: 'store-a2', lmb: 'store-b', compute: 'compute' }
const near = { node: 'lma-01', aggregate: 'aggr1' }
const beside = { node: 'lma-01', aggregate: 'aggr2' }
const far = { node: 'lma-02', aggregate: 'aggr3' }

/** Nothing of these shares is left anywhere, but for their own rows. */
async function assertGone(world: World, shareId: string): Promise<void> {
  assert.deepEqual(await shareAgentOf(world).shareStatus(shareId), { shareId })
  for (const table of ['volumes', 'flexvols', 'attachments', 'snapshots'] as const) {
    const rows = await world.db.selectFrom(table).select('id').where('share_id', '=', shareId).execute()
    assert.deepEqual(rows, [], `no row of ${table} is left`)
  }
  const name = junctionPathOf(shareId).slice(1)
  for (const node of world.nodes.values()) {
    assert.ok(![...node.flexvols].some((flexvol) => flexvol.endsWith(`/${name}`)), 'no folder is left')
  }
}

for (const [machines, place] of [
  [here, near],
  [apart, far],
] as const) {
  everyStep<CreateShareInput, CreateSharePorts>(createShare, {
    fresh: async () => {
      const world = await openWorld(machines)
      const ports = sharePorts(world)
      const other = await makeShare(ports)
      const share = await addShare(ports)
      const input = creationOf(share, place)
      return {
        input,
        ports,
        invariants: async ({ run }: Result) => {
          if (run.state === 'succeeded') {
            const { share: now, volume } = await assertServed(world, ports, share.id, 2)
            assert.deepEqual([now.status, now.exportId], ['available', 2])
            assert.equal(volume.imageId, input.copyId)
            assert.equal((await world.records.copies.get(input.copyId)).sizeBytes, imageBytesFor(2))
            assert.deepEqual((await shareAgentOf(world).shareStatus(share.id)).export?.clients, [])
            assert.equal(await shareMessagesOf(world, share.id), 0)
          } else {
            const now = await ports.shares.get(share.id)
            assert.deepEqual([now.status, now.flexvolId, now.exportId], ['error', null, null])
            await assertGone(world, share.id)
          }
          await assertServed(world, ports, other.id, 2)
          await assertNoShareLitter(world)
        },
        close: () => world.db.destroy(),
      }
    },
  })
}

// From a snapshot: a clone beside it, or a copy of everything.
for (const [machines, place, reflink] of [
  [here, near, true],
  [here, beside, true],
  [here, near, false],
  [apart, far, true],
] as const) {
  everyStep<CreateShareInput, CreateSharePorts>(createShare, {
    fresh: async () => {
      const world = await openWorld(machines, { reflink })
      const ports = sharePorts(world)
      const origin = await makeShare(ports)
      const originVolume = await world.records.volumes.get(origin.volumeId ?? '')
      const image = imageIn(world, originVolume.imageId ?? '')
      assert.ok(image)
      image.content = 'before'
      const snapshot = await makeSnapshot(world, originVolume, 1)
      // Larger than what the origin's image has room for.
      const share = await addShare(ports, { status: 'creating_from_snapshot', sizeGib: 200 })
      const input = creationOf(share, place, { snapshotId: snapshot.id })
      return {
        input,
        ports,
        restarted: () => ({ ...ports, copying: new Map() }),
        invariants: async ({ run }: Result) => {
          if (run.state === 'succeeded') {
            await assertServed(world, ports, share.id, 200)
            assert.equal(contentOf(world, input.copyId), 'before')
            assert.equal(imageIn(world, input.copyId)?.sizeBytes, imageBytesFor(200))
            assert.equal((await world.records.copies.get(input.copyId)).sizeBytes, imageBytesFor(200))
          } else {
            assert.equal((await ports.shares.get(share.id)).status, 'error')
            await assertGone(world, share.id)
          }
          await assertServed(world, ports, origin.id, 2)
          assert.equal((await world.records.snapshots.get(snapshot.id)).status, 'available')
          for (const node of world.nodes.values()) assert.equal(node.imageCopies.size, 0)
          await assertNoShareLitter(world)
        },
        close: () => world.db.destroy(),
      }
    },
  })
}

for (const machines of [here, apart]) {
  everyStep<DeleteShareInput, DeleteSharePorts>(deleteShare, {
    fresh: async () => {
      const world = await openWorld(machines)
      const ports = sharePorts(world)
      const other = await makeShare(ports)
      const share = await makeShare(ports, {}, machines === here ? near : far)
      await ports.accessRules.create(ruleOf(share, { state: 'active' }))
      await keepFormer(world, share)
      await ports.shares.update(share.id, { status: 'deleting' })
      const { volumeId, flexvolId, projectId } = share
      return {
        input: { shareId: share.id, volumeId, flexvolId, projectId, requestId: 'req-1' },
        ports,
        invariants: async ({ run }: Result) => {
          const now = await ports.shares.find(share.id)
          assert.equal(now?.status, run.state === 'succeeded' ? undefined : 'error_deleting')
          if (run.state === 'succeeded') {
            await assertGone(world, share.id)
            assert.deepEqual(await ports.accessRules.ofShare(share.id), [])
            assert.equal(await shareMessagesOf(world, share.id), 0)
          }
          await assertServed(world, ports, other.id, 2)
          await assertNoShareLitter(world)
        },
        close: () => world.db.destroy(),
      }
    },
  })
}

/** What a move has left on another aggregate. */
async function keepFormer(world: World, share: Share): Promise<void> {
  const { imageId } = await world.records.volumes.get(share.volumeId ?? '')
  const former = {
    ...(await world.records.copies.get(imageId ?? '')),
    ...beside,
    imageId: crypto.randomUUID(),
    state: 'retained' as const,
    retainedUntil: '2100-01-01T00:00:00.000Z',
  }
  const flexvol = await world.records.flexvols.get(former.flexvolId)
  await world.records.flexvols.update(flexvol.id, { destination: beside })
  await world.records.copies.create(former)
  await world.records.flexvols.update(flexvol.id, { destination: null })
  await world.backend.ensureFlexVolAt({ fence: 1 }, flexvol, beside)
  await world.backend.ensureImage({ fence: 1 }, former)
}

everyStep<ApplyShareAccessInput, ApplyShareAccessPorts>(applyShareAccess, {
  fresh: async () => {
    const world = await openWorld(here)
    const ports = sharePorts(world)
    const share = await makeShare(ports)
    const rules = {
      kept: ruleOf(share, { accessTo: '10.0.0.1', state: 'active' }),
      admitted: ruleOf(share, { accessTo: '10.0.0.0/24', accessLevel: 'ro' }),
      denied: ruleOf(share, { accessTo: '10.0.0.3', state: 'queued_to_deny' }),
      wrong: ruleOf(share, { accessTo: '10.0.0.4', state: 'error' }),
    }
    for (const rule of Object.values(rules)) await ports.accessRules.create(rule)
    return {
      input: { shareId: share.id },
      ports,
      invariants: async ({ run }: Result) => {
        const states = new Map(
          (await ports.accessRules.ofShare(share.id)).map(({ id, state }) => [id, state]),
        )
        assert.equal(
          (await ports.shares.get(share.id)).accessRulesStatus,
          'error',
          'of one rule it was before',
        )
        assert.equal(states.get(rules.kept.id), 'active')
        if (run.state === 'succeeded') {
          assert.equal(states.get(rules.admitted.id), 'active')
          assert.equal(states.has(rules.denied.id), false)
          assert.deepEqual((await shareAgentOf(world).shareStatus(share.id)).export?.clients, [
            { to: '10.0.0.0/24', level: 'ro' },
            { to: '10.0.0.1', level: 'rw' },
          ])
          assert.equal(await shareMessagesOf(world, share.id), 0)
        } else {
          assert.equal(states.get(rules.admitted.id), 'error')
          assert.equal(states.get(rules.denied.id), 'error')
        }
        await assertServed(world, ports, share.id, 2)
        await assertNoShareLitter(world)
      },
      close: () => world.db.destroy(),
    }
  },
})
