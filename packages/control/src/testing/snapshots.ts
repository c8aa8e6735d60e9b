import type { Snapshot } from '../domain/snapshot.ts'
import type { Copy, Volume } from '../domain/volume.ts'
import { snapshotRow } from '../db/repositories/snapshot.ts'
import type { World } from './world.ts'

/** The row of a snapshot of the volume, as a request leaves it. */
export async function addSnapshot(
  world: World,
  volume: Volume,
  fields: Partial<Snapshot> = {},
): Promise<Snapshot> {
  const snapshot: Snapshot = {
    id: crypto.randomUUID(),
    volumeId: volume.id,
    projectId: volume.projectId,
    userId: volume.userId,
    name: 'before',
    description: null,
    sizeGib: volume.sizeGib,
    status: 'creating',
    metadata: {},
    flexvolId: volume.flexvolId as string,
    shareId: volume.shareId,
    imageId: null,
    method: null,
    createdAt: new Date().toISOString(),
    updatedAt: null,
    ...fields,
  }
  await world.db.insertInto('snapshots').values(snapshotRow(snapshot)).execute()
  return snapshot
}

/** A whole snapshot, whose image holds what the volume's does now. */
export async function makeSnapshot(world: World, volume: Volume, fence = 0): Promise<Snapshot> {
  const truth = await world.records.copies.get(volume.imageId as string)
  const copy: Copy = { ...truth, imageId: crypto.randomUUID() }
  const snapshot = await addSnapshot(world, volume, {
    status: 'available',
    imageId: copy.imageId,
    method: 'clone',
  })
  await world.records.copies.create({ ...copy, snapshotId: snapshot.id })
  await world.backend.ensureImage({ fence }, copy)
  const image = imageIn(world, copy.imageId)
  if (image !== undefined) image.content = contentOf(world, truth.imageId) ?? ''
  await world.backend.ensureReadOnly({ fence }, copy, true)
  return snapshot
}

export const imageIn = (world: World, imageId: string) =>
  [...world.nodes.values()].map((node) => node.images.get(imageId)).find((image) => image !== undefined)

/** What the simulated image holds. */
export const contentOf = (world: World, imageId: string): string | undefined =>
  imageIn(world, imageId)?.content
