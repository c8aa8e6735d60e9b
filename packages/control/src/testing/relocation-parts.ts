/** A part of a FlexVol's move, and the world around it. */
import assert from 'node:assert/strict'
import type { Result } from '@volant/saga/testing/every-step.ts'
import type { Convergence } from '../domain/convergence.ts'
import type { CopyProgress } from '../domain/copy-progress.ts'
import { CutoverTurns } from '../domain/cutover-turns.ts'
import { keptForTheMove, type ShareBase } from '../domain/relocation-part.ts'
import { ensureHead } from '../operations/head.ts'
import type { RelocateImageInput } from '../operations/relocate-image.ts'
import type { RelocateVolumeInput } from '../operations/relocate-volume.ts'
import { assertWorldSound } from './invariants.ts'
import { contentOf, imageIn, makeSnapshot } from './snapshots.ts'
import { makeVolume, openWorld, type Machines, type World } from './world.ts'

export const here: Machines = { lma: 'm1', lmb: 'm1', compute: 'm1' }
export const apart: Machines = { lma: 'store-a', lma2: 'store-a2', lmb: 'store-b', compute: 'compute' }
export const beside = { node: 'lma-01', aggregate: 'aggr2' }
export const elsewhere = { node: 'lma-02', aggregate: 'aggr3' }

type Kind = 'snapshot' | 'detached' | 'attached'

/** A FlexVol whose destination is prepared, a volume with a snapshot that has moved, and what the part is to move. */
export async function partWorld(
  kind: Kind,
  to: typeof beside,
  machines: Machines,
  options: { shares: boolean },
) {
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
  await records.flexvols.update(lma.id, { destination: to })
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
    turns: new CutoverTurns(),
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
    retainedUntil: keptForTheMove,
  })
  return { snapshotId, fromImageId: imageId, toImageId: copy.imageId }
}

export async function assertPart(
  world: World,
  input: RelocateImageInput | RelocateVolumeInput,
  run: Result['run'],
) {
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
