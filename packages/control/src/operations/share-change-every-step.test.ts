import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import {
  assertNoShareLitter,
  assertServed,
  carryOut,
  makeShare,
  ruleOf,
  shareAgentOf,
  shareMessagesOf,
  sharePorts,
  type SharePorts,
} from '../testing/shares.ts'
import { addSnapshot, contentOf, imageIn, makeSnapshot } from '../testing/snapshots.ts'
import { openWorld, type Machines, type World } from '../testing/world.ts'
import { applyShareAccess } from './apply-share-access.ts'
import { createSnapshot, type CreateSnapshotInput, type CreateSnapshotPorts } from './create-snapshot.ts'
import { deleteSnapshot, type DeleteSnapshotInput, type DeleteSnapshotPorts } from './delete-snapshot.ts'
import { extendShare, type ExtendShareInput, type ExtendSharePorts } from './extend-share.ts'
import { revertShare, type RevertShareInput, type RevertSharePorts } from './revert-share.ts'

const here: Machines = { lma: 'm1', lmb: 'm1', compute: 'm1' }
/** The node with the LIF is not the node with the image. */
const apart: Machines = { lma: 'store-a', lma2: 'store-a2', lmb: 'store-b', compute: 'compute' }
const near = { node: 'lma-01', aggregate: 'aggr1' }
const far = { node: 'lma-02', aggregate: 'aggr3' }

everyStep<ExtendShareInput, ExtendSharePorts>(extendShare, {
  fresh: async () => {
    const world = await openWorld(here)
    const ports = sharePorts(world)
    const share = await makeShare(ports)
    await ports.shares.update(share.id, { status: 'extending' })
    return {
      input: { shareId: share.id, projectId: 'p', requestId: 'req-1', oldSizeGib: 2, newSizeGib: 5 },
      ports,
      invariants: async ({ run }: Result) => {
        const done = run.state === 'succeeded'
        const ends: Record<string, string> = {
          succeeded: 'available',
          cancelled: 'available',
          failed: 'extending_error',
        }
        const now = await ports.shares.get(share.id)
        assert.deepEqual([now.status, now.sizeGib], [ends[run.state], done ? 5 : 2])
        const { volume } = await assertServed(world, ports, share.id, done ? 5 : 2)
        assert.equal(volume.sizeGib, done ? 5 : 2)
        if (done) assert.equal(await shareMessagesOf(world, share.id), 0)
        await assertNoShareLitter(world)
      },
      close: () => world.db.destroy(),
    }
  },
})

/** A share that held `before` at its snapshot, has grown since, and holds `after`. */
async function changedSince(world: World, ports: SharePorts, place: typeof near) {
  const share = await makeShare(ports, {}, place)
  await ports.accessRules.create(ruleOf(share))
  await carryOut(applyShareAccess, ports, { shareId: share.id })
  const volume = await world.records.volumes.get(share.volumeId ?? '')
  const image = imageIn(world, volume.imageId ?? '')
  assert.ok(image)
  image.content = 'before'
  const snapshot = await makeSnapshot(world, volume, 1)
  image.content = 'after'
  await ports.shares.update(share.id, { status: 'extending' })
  const growth = { shareId: share.id, projectId: 'p', requestId: 'req-1', oldSizeGib: 2, newSizeGib: 5 }
  await carryOut(extendShare, ports, growth)
  await ports.shares.update(share.id, { status: 'reverting' })
  await world.records.snapshots.update(snapshot.id, { status: 'restoring' })
  return { share, volume, snapshot }
}

for (const [machines, place, reflink] of [
  [here, near, true],
  [here, near, false],
  [apart, far, true],
] as const) {
  everyStep<RevertShareInput, RevertSharePorts>(revertShare, {
    fresh: async () => {
      const world = await openWorld(machines, { reflink })
      const ports = sharePorts(world)
      const { share, volume, snapshot } = await changedSince(world, ports, place)
      const input: RevertShareInput = {
        shareId: share.id,
        volumeId: volume.id,
        snapshotId: snapshot.id,
        copyId: crypto.randomUUID(),
        projectId: 'p',
        requestId: 'req-1',
      }
      return {
        input,
        ports,
        restarted: () => ({ ...ports, copying: new Map() }),
        invariants: async ({ run }: Result) => {
          const done = run.state === 'succeeded'
          const ends: Record<string, string> = {
            succeeded: 'available',
            cancelled: 'available',
            failed: 'reverting_error',
          }
          const now = await ports.shares.get(share.id)
          assert.deepEqual([now.status, now.sizeGib], [ends[run.state], done ? 2 : 5])
          const served = await assertServed(world, ports, share.id, done ? 2 : 5)
          assert.equal(served.volume.imageId, done ? input.copyId : volume.imageId)
          assert.equal(contentOf(world, served.volume.imageId ?? ''), done ? 'before' : 'after')
          assert.equal(imageIn(world, served.volume.imageId ?? '')?.readOnly, false)
          assert.equal((await shareAgentOf(world).shareStatus(share.id)).export?.clients.length, 1)
          assert.equal((await world.records.snapshots.get(snapshot.id)).status, 'available')
          assert.equal(contentOf(world, snapshot.imageId ?? ''), 'before')
          const copies = await world.records.copies.ofVolume(volume.id)
          assert.deepEqual(
            copies.map(({ state }) => state),
            ['live'],
          )
          if (done) assert.equal(await shareMessagesOf(world, share.id), 0)
          await assertNoShareLitter(world)
        },
        close: () => world.db.destroy(),
      }
    },
  })
}

/** What clients have written comes into the image when the file system is flushed, and not before. */
function withWrites(world: World, ports: SharePorts, imageId: string): SharePorts {
  const agent = shareAgentOf(world)
  const shares = new Proxy(agent, {
    get: (target, name) =>
      name === 'flushFileSystem'
        ? async (...[caller, shareId]: Parameters<typeof agent.flushFileSystem>) => {
            await agent.flushFileSystem(caller, shareId)
            Object.assign(imageIn(world, imageId) ?? {}, { content: 'written' })
          }
        : Reflect.get(target, name),
  })
  return { ...ports, agents: { ...ports.agents, shares: () => shares } }
}

const cinderMessages = async (world: World): Promise<number> =>
  (await world.db.selectFrom('volume_messages').select('id').execute()).length

for (const reflink of [true, false]) {
  everyStep<CreateSnapshotInput, CreateSnapshotPorts>(createSnapshot, {
    fresh: async () => {
      const world = await openWorld(here, { reflink })
      const plain = sharePorts(world)
      const share = await makeShare(plain)
      const volume = await world.records.volumes.get(share.volumeId ?? '')
      const ports = withWrites(world, plain, volume.imageId ?? '')
      const snapshot: Snapshot = await addSnapshot(world, volume)
      const input: CreateSnapshotInput = {
        snapshotId: snapshot.id,
        volumeId: volume.id,
        projectId: 'p',
        requestId: 'req-1',
        copyId: crypto.randomUUID(),
      }
      return {
        input,
        ports,
        restarted: () => ({ ...ports, copying: new Map() }),
        invariants: async ({ run }: Result) => {
          const made = run.state === 'succeeded'
          const now = await world.records.snapshots.get(snapshot.id)
          assert.deepEqual([now.status, now.sizeGib], [made ? 'available' : 'error', 2])
          // What a head copies has no content in a simulated world.
          if (made && reflink) assert.equal(contentOf(world, input.copyId), 'written', 'flushed before')
          if (made) assert.deepEqual(shareAgentOf(world).flushed.slice(0, 1), [share.id])
          if (made) assert.equal(await shareMessagesOf(world, snapshot.id), 0)
          assert.equal(await cinderMessages(world), 0, 'no Cinder user is told of it')
          await assertServed(world, plain, share.id, 2)
          await assertNoShareLitter(world)
        },
        close: () => world.db.destroy(),
      }
    },
  })
}

everyStep<DeleteSnapshotInput, DeleteSnapshotPorts>(deleteSnapshot, {
  fresh: async () => {
    const world = await openWorld(here)
    const ports = sharePorts(world)
    const share = await makeShare(ports)
    const volume = await world.records.volumes.get(share.volumeId ?? '')
    const snapshot = await makeSnapshot(world, volume, 1)
    await world.records.snapshots.update(snapshot.id, { status: 'deleting' })
    return {
      input: { snapshotId: snapshot.id, projectId: 'p', requestId: 'req-1' },
      ports,
      invariants: async ({ run }: Result) => {
        const now = await world.records.snapshots.find(snapshot.id)
        assert.equal(now?.status, run.state === 'succeeded' ? undefined : 'error_deleting')
        assert.equal(await cinderMessages(world), 0, 'no Cinder user is told of it')
        await assertServed(world, ports, share.id, 2)
        await assertNoShareLitter(world)
      },
      close: () => world.db.destroy(),
    }
  },
})
