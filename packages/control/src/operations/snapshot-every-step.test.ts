import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import { blockStoragePorts } from '../testing/block-storage.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { addSnapshot, contentOf, imageIn, makeSnapshot } from '../testing/snapshots.ts'
import { makeVolume, openWorld, type World } from '../testing/world.ts'
import type { Volume } from '../domain/volume.ts'
import { createSnapshot, type CreateSnapshotInput, type CreateSnapshotPorts } from './create-snapshot.ts'
import { createVolume, type CreateVolumeInput, type CreateVolumePorts } from './create-volume.ts'
import { deleteSnapshot, type DeleteSnapshotInput, type DeleteSnapshotPorts } from './delete-snapshot.ts'
import { deleteVolume, type DeleteVolumeInput, type DeleteVolumePorts } from './delete-volume.ts'
import { ensureHead } from './head.ts'
import { revertVolume, type RevertVolumeInput, type RevertVolumePorts } from './revert-volume.ts'

const here = { lma: 'm1', lmb: 'm1', compute: 'm1' }
const apart = { lma: 'store-a', lmb: 'store-b', compute: 'compute' }

/** Every image has a row, every row an image, nothing is held back, and no copying or export is left. */
async function assertNoLitter(world: World, truth: string): Promise<void> {
  const rows = await world.db.selectFrom('copies').selectAll().execute()
  const files = [...world.nodes.values()].flatMap((node) => [...node.images.keys()])
  assert.deepEqual(files.toSorted(), rows.map((row) => row.image_id).toSorted())
  for (const row of rows) {
    assert.equal(row.state, 'live')
    assert.equal(row.reserved_bytes, 0)
  }
  for (const node of world.nodes.values()) {
    assert.equal(node.imageCopies.size, 0, 'no copy of an image at rest is left over')
    for (const { access } of node.exports.values()) assert.equal(access.imageId, truth)
  }
  for (const agent of world.holders.values()) {
    for (const holder of agent.holders.values()) assert.equal(holder.pointCopy, undefined)
  }
  await assertWorldSound(world)
}

const messagesOf = (world: World, resourceId: string) =>
  world.db.selectFrom('volume_messages').select('id').where('volume_id', '=', resourceId).execute()

/** A volume that holds something, with its head where it is attached. */
async function volumeWith(world: World, content: string, attached: boolean): Promise<Volume> {
  const volume = await makeVolume(world, world.lma, { attached })
  const image = imageIn(world, volume.imageId as string)
  assert.ok(image)
  image.content = content
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  if (attachment !== undefined) await ensureHead(world.ports, { fence: 0 }, attachment)
  return volume
}

for (const reflink of [true, false]) {
  for (const attached of [true, false]) {
    for (const machines of attached && !reflink ? [here, apart] : [here]) {
      everyStep<CreateSnapshotInput, CreateSnapshotPorts>(createSnapshot, {
        fresh: async () => {
          const world = await openWorld(machines, { reflink })
          const volume = await volumeWith(world, 'at the instant', attached)
          const snapshot = await addSnapshot(world, volume)
          const input: CreateSnapshotInput = {
            snapshotId: snapshot.id,
            volumeId: volume.id,
            projectId: volume.projectId,
            requestId: 'req-1',
            copyId: crypto.randomUUID(),
          }
          return {
            input,
            ports: blockStoragePorts(world),
            restarted: () => blockStoragePorts(world),
            invariants: async ({ run }: Result) => {
              const made = run.state === 'succeeded'
              const now = await world.records.snapshots.get(snapshot.id)
              assert.equal(now.status, made ? 'available' : 'error')
              assert.equal(now.imageId, made ? input.copyId : null)
              assert.equal(now.method, made ? (reflink ? 'clone' : 'copy') : null)
              const copies = await world.records.copies.ofSnapshot(snapshot.id)
              assert.deepEqual(
                copies.map((c) => [c.imageId, c.node, c.aggregate]),
                made ? [[input.copyId, world.lma.node, world.lma.aggregate]] : [],
              )
              if (made) {
                assert.equal(imageIn(world, input.copyId)?.readOnly, true)
                // What a head copies has no content in a simulated world.
                if (reflink || !attached) assert.equal(contentOf(world, input.copyId), 'at the instant')
                assert.deepEqual(await messagesOf(world, snapshot.id), [])
              }
              const after = await world.records.volumes.get(volume.id)
              assert.deepEqual([after.status, after.imageId], [volume.status, volume.imageId])
              await assertNoLitter(world, volume.imageId as string)
            },
            close: () => world.db.destroy(),
          }
        },
      })
    }
  }
}

everyStep<DeleteSnapshotInput, DeleteSnapshotPorts>(deleteSnapshot, {
  fresh: async () => {
    const world = await openWorld()
    const volume = await volumeWith(world, 'kept', false)
    const other = await makeSnapshot(world, volume)
    const snapshot = await makeSnapshot(world, volume)
    await world.records.snapshots.update(snapshot.id, { status: 'deleting' })
    return {
      input: { snapshotId: snapshot.id, projectId: volume.projectId, requestId: 'req-1' },
      ports: blockStoragePorts(world),
      invariants: async ({ run }: Result) => {
        const now = await world.records.snapshots.find(snapshot.id)
        assert.equal(now?.status, run.state === 'succeeded' ? undefined : 'error_deleting')
        assert.equal((await world.records.snapshots.get(other.id)).status, 'available')
        assert.equal((await world.records.volumes.get(volume.id)).status, 'available')
        if (run.state === 'succeeded') assert.deepEqual(await messagesOf(world, snapshot.id), [])
        await assertNoLitter(world, volume.imageId as string)
      },
      close: () => world.db.destroy(),
    }
  },
})

// With its snapshots.
everyStep<DeleteVolumeInput, DeleteVolumePorts>(deleteVolume, {
  fresh: async () => {
    const world = await openWorld()
    const other = await volumeWith(world, 'stays', false)
    const volume = await volumeWith(world, 'goes', false)
    const snapshots = [await makeSnapshot(world, volume), await makeSnapshot(world, volume)]
    await world.records.volumes.update(volume.id, { status: 'deleting' })
    for (const { id } of snapshots) await world.records.snapshots.update(id, { status: 'deleting' })
    const snapshotIds = snapshots.map(({ id }) => id)
    return {
      input: { volumeId: volume.id, projectId: volume.projectId, requestId: 'req-1', snapshotIds },
      ports: blockStoragePorts(world),
      invariants: async ({ run }: Result) => {
        const left = run.state === 'succeeded' ? undefined : 'error_deleting'
        assert.equal((await world.records.volumes.find(volume.id))?.status, left)
        for (const id of snapshotIds) {
          assert.equal((await world.records.snapshots.find(id))?.status, left)
        }
        await assertNoLitter(world, other.imageId as string)
      },
      close: () => world.db.destroy(),
    }
  },
})

for (const reflink of [true, false]) {
  everyStep<RevertVolumeInput, RevertVolumePorts>(revertVolume, {
    fresh: async () => {
      const world = await openWorld(here, { reflink })
      const volume = await volumeWith(world, 'before', false)
      const snapshot = await makeSnapshot(world, volume)
      const former = imageIn(world, volume.imageId as string)
      assert.ok(former)
      former.content = 'after'
      await world.records.snapshots.update(snapshot.id, { status: 'restoring' })
      await world.records.volumes.update(volume.id, { status: 'reverting' })
      const input: RevertVolumeInput = {
        volumeId: volume.id,
        snapshotId: snapshot.id,
        projectId: volume.projectId,
        requestId: 'req-1',
        copyId: crypto.randomUUID(),
      }
      return {
        input,
        ports: blockStoragePorts(world),
        restarted: () => blockStoragePorts(world),
        invariants: async ({ run }: Result) => {
          const done = run.state === 'succeeded'
          const now = await world.records.volumes.get(volume.id)
          assert.equal(now.status, 'available')
          assert.equal(now.imageId, done ? input.copyId : volume.imageId)
          assert.equal(contentOf(world, now.imageId as string), done ? 'before' : 'after')
          assert.equal(imageIn(world, now.imageId as string)?.readOnly, false)
          assert.equal((await world.records.snapshots.get(snapshot.id)).status, 'available')
          assert.equal(contentOf(world, snapshot.imageId as string), 'before')
          if (done) assert.deepEqual(await messagesOf(world, volume.id), [])
          await assertNoLitter(world, now.imageId as string)
        },
        close: () => world.db.destroy(),
      }
    },
  })

  for (const kind of ['snapshot', 'volume'] as const) {
    everyStep<CreateVolumeInput, CreateVolumePorts>(createVolume, {
      fresh: async () => {
        const world = await openWorld(here, { reflink })
        const origin = await volumeWith(world, 'before', kind === 'volume' && reflink)
        const snapshot = await makeSnapshot(world, origin)
        const volume: Volume = {
          ...origin,
          id: crypto.randomUUID(),
          status: 'creating',
          sizeGib: 2,
          flexvolId: null,
          imageId: null,
          snapshotId: kind === 'snapshot' ? snapshot.id : null,
        }
        await world.records.volumes.create(volume)
        const common = { dataBytes: 4096, machine: 'm1', bootable: true, imageMetadata: {} }
        const input: CreateVolumeInput = {
          volumeId: volume.id,
          projectId: volume.projectId,
          requestId: 'req-1',
          sizeGib: 2,
          copyId: crypto.randomUUID(),
          availabilityZone: null,
          extraSpecs: {},
          source:
            kind === 'snapshot'
              ? { kind, snapshotId: snapshot.id, ...common }
              : { kind, volumeId: origin.id, ...common },
        }
        return {
          input,
          ports: blockStoragePorts(world),
          invariants: async ({ run }: Result) => {
            const made = run.state === 'succeeded'
            const now = await world.records.volumes.get(volume.id)
            assert.equal(now.status, made ? 'available' : 'error')
            assert.equal(now.imageId, made ? input.copyId : null)
            if (made) {
              const image = imageIn(world, input.copyId)
              assert.equal(image?.sizeBytes, 2 * 1024 ** 3)
              if (reflink) assert.equal(image?.content, 'before')
              if (reflink) assert.equal(now.flexvolId, origin.flexvolId)
            }
            assert.equal((await world.records.volumes.get(origin.id)).status, origin.status)
            assert.equal((await world.records.snapshots.get(snapshot.id)).status, 'available')
            await assertNoLitter(world, origin.imageId as string)
          },
          close: () => world.db.destroy(),
        }
      },
    })
  }
}
