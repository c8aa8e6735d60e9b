import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import type { Convergence } from '../domain/convergence.ts'
import type { CopyProgress } from '../domain/copy-progress.ts'
import type { ShareBase } from '../domain/relocation-part.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { contentOf, imageIn, makeSnapshot } from '../testing/snapshots.ts'
import { makeVolume, openWorld, type Machines, type World } from '../testing/world.ts'
import { ensureHead } from './head.ts'
import { relocateImage, type RelocateImageInput, type RelocateImagePorts } from './relocate-image.ts'
import { relocateVolume, type RelocateVolumeInput, type RelocateVolumePorts } from './relocate-volume.ts'

const here: Machines = { lma: 'm1', lmb: 'm1', compute: 'm1' }
const apart: Machines = { lma: 'store-a', lma2: 'store-a2', lmb: 'store-b', compute: 'compute' }
const beside = { node: 'lma-01', aggregate: 'aggr2' }
const elsewhere = { node: 'lma-02', aggregate: 'aggr3' }

type Kind = 'snapshot' | 'detached' | 'attached'

/** A FlexVol whose destination is prepared, a volume with a snapshot that has moved, and what the part is to move. */
async function partWorld(kind: Kind, to: typeof beside, machines: Machines, options: { shares: boolean }) {
  const world = await openWorld(machines)
  const { records, backend, lma } = world
  await backend.ensureFlexVolAt({ fence: 0 }, lma, to)
  const volume = await makeVolume(world, lma, { attached: kind === 'attached' })
  const image = imageIn(world, volume.imageId as string)
  if (image !== undefined) Object.assign(image, { content: 'written', allocatedBytes: 2 ** 20 })
  const earlier = await makeSnapshot(world, volume)
  const later = await makeSnapshot(world, volume)
  const moveId = crypto.randomUUID()
  await records.moves.create({
    id: moveId,
    flexvolId: lma.id,
    from: { node: lma.node, aggregate: lma.aggregate },
    to,
    cutoverWindowSeconds: 30,
    cutoverAction: 'retry_on_failure',
    cutover: 'automatic',
    state: 'running',
    startedAt: new Date().toISOString(),
    endedAt: null,
  })
  const base = options.shares ? await movedBase(world, earlier.id, earlier.imageId as string, to) : null
  const [attachment] = await records.attachments.ofVolume(volume.id)
  if (attachment !== undefined) await ensureHead(world.ports, { fence: 0 }, attachment)
  const source = kind === 'snapshot' ? (later.imageId as string) : (volume.imageId as string)
  const input = {
    moveId,
    flexvolId: lma.id,
    volumeId: volume.id,
    snapshotId: kind === 'snapshot' ? later.id : null,
    from: { node: lma.node, aggregate: lma.aggregate },
    to,
    sourceImageId: source,
    targetImageId: crypto.randomUUID(),
    base,
  }
  const restarted = () => ({
    ...world.ports,
    convergence: new Map<string, Convergence>(),
    copying: new Map<string, CopyProgress>(),
  })
  return { world, volume, input, restarted, wasUpdatedAt: (await records.volumes.get(volume.id)).status }
}

/** The snapshot's truth is at the destination, and what it was is kept. */
async function movedBase(
  world: World,
  snapshotId: string,
  imageId: string,
  to: typeof beside,
): Promise<ShareBase> {
  const former = await world.records.copies.get(imageId)
  const copy = { ...former, ...to, imageId: crypto.randomUUID(), state: 'target' as const }
  await world.records.copies.create(copy)
  await world.backend.ensureImage({ fence: 0 }, copy)
  const made = imageIn(world, copy.imageId)
  if (made !== undefined) made.content = contentOf(world, imageId) ?? ''
  await world.records.copies.changeSnapshotTruth({
    snapshotId,
    fromImageId: imageId,
    toImageId: copy.imageId,
    operationId: crypto.randomUUID(),
    fence: 0,
    retainedUntil: '9999-12-31T23:59:59.999Z',
  })
  return { snapshotId, fromImageId: imageId, toImageId: copy.imageId }
}

async function assertPart(world: World, input: RelocateImageInput | RelocateVolumeInput, run: Result['run']) {
  const { records } = world
  const moved = run.state === 'succeeded'
  const owner =
    input.snapshotId === null
      ? await records.volumes.get(input.volumeId)
      : await records.snapshots.get(input.snapshotId)
  assert.equal(owner.imageId, moved ? input.targetImageId : input.sourceImageId)
  const source = await records.copies.get(input.sourceImageId)
  assert.equal(source.state, moved ? 'retained' : 'live')
  const target = await records.copies.find(input.targetImageId)
  assert.equal(target?.state, moved ? 'live' : undefined)
  if (target !== undefined)
    assert.deepEqual([target.node, target.aggregate], [input.to.node, input.to.aggregate])
  if (moved && input.snapshotId !== null) {
    assert.equal(contentOf(world, input.targetImageId), contentOf(world, input.sourceImageId), 'equal bytes')
  }
  const holdsReadOnly = moved || input.snapshotId !== null
  assert.equal(imageIn(world, input.sourceImageId)?.readOnly, holdsReadOnly)
  for (const node of world.nodes.values()) assert.equal(node.imageCopies.size, 0, 'no copy is left over')
  await assertWorldSound(world)
}

for (const kind of ['snapshot', 'detached'] as const) {
  for (const [to, machines, shares] of [
    [beside, here, true],
    [beside, here, false],
    [elsewhere, apart, false],
  ] as const) {
    everyStep<RelocateImageInput, RelocateImagePorts>(relocateImage, {
      fresh: async () => {
        const { world, input: part, restarted } = await partWorld(kind, to, machines, { shares })
        const input = { ...part, kept: null }
        return {
          input,
          ports: world.ports,
          restarted,
          invariants: ({ run }: Result) => assertPart(world, input, run),
          close: () => world.db.destroy(),
        }
      },
    })
  }
}

for (const [to, machines, shares] of [
  [beside, here, true],
  [beside, here, false],
  [beside, apart, true],
  [elsewhere, apart, false],
] as const) {
  everyStep<RelocateVolumeInput, RelocateVolumePorts>(relocateVolume, {
    fresh: async () => {
      const { world, volume, input: part, restarted } = await partWorld('attached', to, machines, { shares })
      const input = { ...part, cloneImageId: crypto.randomUUID() }
      return {
        input,
        ports: world.ports,
        restarted,
        invariants: async ({ run }: Result) => {
          await assertPart(world, input, run)
          const now = await world.records.volumes.get(volume.id)
          assert.deepEqual([now.status, now.migrationStatus], ['in-use', null], 'users see nothing')
        },
        close: () => world.db.destroy(),
      }
    },
  })
}
