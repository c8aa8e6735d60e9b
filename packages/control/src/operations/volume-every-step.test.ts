import assert from 'node:assert/strict'
import type { HolderAgent } from '@volant/contract'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import { gib, type Volume } from '../domain/volume.ts'
import { blockStoragePorts } from '../testing/block-storage.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { makeVolume, openWorld, type World } from '../testing/world.ts'
import { createVolume, type CreateVolumeInput, type CreateVolumePorts } from './create-volume.ts'
import { deleteVolume, type DeleteVolumeInput, type DeleteVolumePorts } from './delete-volume.ts'
import { extendVolume, type ExtendVolumeInput, type ExtendVolumePorts } from './extend-volume.ts'
import { ensureHead } from './head.ts'

const here = { lma: 'm1', lmb: 'm1', compute: 'm1' }
const apart = { lma: 'store-a', lmb: 'store-b', compute: 'compute' }

/** Every image has a row, every row an image, and nothing is held back any more. */
async function assertNoLitter(world: World, volumeIds: string[]): Promise<void> {
  const copies = (await Promise.all(volumeIds.map((id) => world.records.copies.ofVolume(id)))).flat()
  const files = [...world.nodes.values()].flatMap((node) => [...node.images.keys()])
  assert.deepEqual(files.toSorted(), copies.map((c) => c.imageId).toSorted())
  for (const copy of copies) assert.equal(copy.reservedBytes, 0)
  await assertWorldSound(world, ['server-1'])
  const reservations = await world.db.selectFrom('block_quota_reservations').selectAll().execute()
  assert.deepEqual(reservations, [])
}

async function messagesOf(world: World, volumeId: string): Promise<number> {
  const rows = await world.db
    .selectFrom('volume_messages')
    .select('id')
    .where('volume_id', '=', volumeId)
    .execute()
  return rows.length
}

for (const kind of ['blank', 'image', 'volume'] as const) {
  everyStep<CreateVolumeInput, CreateVolumePorts>(createVolume, {
    fresh: async () => {
      const world = await openWorld()
      const original = await makeVolume(world, world.lma, { attached: false })
      const volume: Volume = {
        ...original,
        id: crypto.randomUUID(),
        status: 'creating',
        flexvolId: null,
        imageId: null,
      }
      await world.records.volumes.create(volume)
      const imageMetadata = { os: 'probe' }
      const sources = {
        blank: null,
        image: { kind: 'image' as const, imageId: 'i', dataBytes: 4096, imageMetadata },
        volume: {
          kind: 'volume' as const,
          volumeId: original.id,
          dataBytes: 4096,
          machine: 'm1',
          bootable: true,
          imageMetadata,
        },
      }
      const input: CreateVolumeInput = {
        volumeId: volume.id,
        projectId: volume.projectId,
        requestId: 'req-1',
        sizeGib: 1,
        copyId: crypto.randomUUID(),
        availabilityZone: null,
        extraSpecs: {},
        source: sources[kind],
      }
      return {
        input,
        ports: blockStoragePorts(world),
        invariants: async ({ run }: Result) => {
          const made = run.state === 'succeeded'
          const now = await world.records.volumes.get(volume.id)
          assert.equal(now.status, made ? 'available' : 'error')
          assert.equal(now.imageId, made ? input.copyId : null)
          assert.equal(now.bootable, made && kind !== 'blank')
          const copies = await world.records.copies.ofVolume(volume.id)
          assert.deepEqual(
            copies.map((c) => c.state),
            made ? ['live'] : [],
          )
          assert.equal((await world.records.volumes.get(original.id)).status, 'available')
          if (made) assert.equal(await messagesOf(world, volume.id), 0)
          await assertNoLitter(world, [volume.id, original.id])
        },
        close: () => world.db.destroy(),
      }
    },
  })
}

everyStep<DeleteVolumeInput, DeleteVolumePorts>(deleteVolume, {
  fresh: async () => {
    const world = await openWorld()
    const volume = await makeVolume(world, world.lma, { attached: false })
    const former = {
      ...(await world.records.copies.get(volume.imageId as string)),
      imageId: crypto.randomUUID(),
      flexvolId: world.lmb.id,
      node: world.lmb.node,
      state: 'retained' as const,
    }
    await world.records.copies.create(former)
    await world.backend.ensureImage({ fence: 0 }, former)
    await world.records.volumes.update(volume.id, { status: 'deleting' })
    return {
      input: { volumeId: volume.id, projectId: volume.projectId, requestId: 'req-1' },
      ports: blockStoragePorts(world),
      invariants: async ({ run }: Result) => {
        const now = await world.records.volumes.find(volume.id)
        assert.equal(now?.status, run.state === 'succeeded' ? undefined : 'error_deleting')
        if (run.state === 'succeeded') assert.equal(await messagesOf(world, volume.id), 0)
        await assertNoLitter(world, [volume.id])
      },
      close: () => world.db.destroy(),
    }
  },
})

/** Holders that share their files with the storage nodes, as those of one machine do: what one grows has grown. */
function holdersOnNodes(world: World, machine: string): HolderAgent {
  const agent = world.agents.holders(machine)
  const ensureSize: HolderAgent['ensureSize'] = async (caller, holderId, sizeBytes) => {
    await agent.ensureSize(caller, holderId, sizeBytes)
    const imageId = agent.holders.get(holderId)?.image?.imageId ?? ''
    for (const node of world.nodes.values()) {
      const image = node.images.get(imageId)
      if (image !== undefined) image.sizeBytes = sizeBytes
    }
  }
  return new Proxy(agent, {
    get: (target, name) => (name === 'ensureSize' ? ensureSize : Reflect.get(target, name)),
  })
}

/** `extending` as the request leaves it; in a running guest if attached. */
async function volumeToExtend(attached: boolean, machines: typeof here) {
  const world = await openWorld(machines)
  const volume = await makeVolume(world, world.lma, { attached })
  const [attachment] = await world.records.attachments.ofVolume(volume.id)
  const compute = world.agents.compute('compute-1')
  const guest = { serverId: 'server-1', name: 's', vcpus: 1, memoryMiB: 64, disks: [], nics: [] }
  await compute.ensureGuest({ fence: 0 }, guest)
  if (attachment !== undefined) {
    const disk = await ensureHead(world.ports, { fence: 0 }, attachment)
    await compute.ensureDisk({ fence: 0 }, 'server-1', disk)
  }
  const agents = { ...world.agents, holders: (machine: string) => holdersOnNodes(world, machine) }
  const ports = { ...blockStoragePorts(world), agents }
  assert.ok(await ports.quotas.beginExtend(volume, 3))
  return { world, volume, compute, ports }
}

for (const attached of [true, false]) {
  for (const machines of attached ? [here, apart] : [here]) {
    everyStep<ExtendVolumeInput, ExtendVolumePorts>(extendVolume, {
      fresh: async () => {
        const { world, volume, compute, ports } = await volumeToExtend(attached, machines)
        const input: ExtendVolumeInput = {
          volumeId: volume.id,
          projectId: volume.projectId,
          userId: 'u',
          requestId: 'req-1',
          oldSizeGib: 1,
          newSizeGib: 3,
          previousStatus: volume.status,
        }
        return {
          input,
          ports,
          invariants: async ({ run }: Result) => {
            const sizeGib = run.state === 'succeeded' ? 3 : 1
            const now = await world.records.volumes.get(volume.id)
            assert.equal(now.status, attached ? 'in-use' : 'available')
            assert.equal(now.sizeGib, sizeGib)
            assert.equal((await ports.quotas.usage(volume.projectId)).gigabytes, sizeGib)
            const copy = await world.records.copies.get(volume.imageId as string)
            assert.equal(copy.sizeBytes, sizeGib * gib)
            if (run.state === 'succeeded' && attached) {
              assert.equal(compute.disksOf('server-1')[0]?.sizeBytes, 3 * gib)
            }
            if (run.state === 'succeeded') assert.equal(await messagesOf(world, volume.id), 0)
            await assertNoLitter(world, [volume.id])
          },
          close: () => world.db.destroy(),
        }
      },
    })
  }
}
