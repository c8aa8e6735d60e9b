/** An image of what a snapshot holds takes the place of a volume's truth. */
import { DomainError } from '@volant/contract'
import type { Copy } from '../domain/volume.ts'
import type { CopyRecords, SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { planContent, type ContentPorts, type PlacedContent } from './content.ts'

export interface RevertContentPorts extends Omit<ContentPorts, 'volumes' | 'copies'> {
  volumes: Pick<VolumeRecords, 'get'>
  snapshots: Pick<SnapshotRecords, 'get'>
  copies: ContentPorts['copies'] & Pick<CopyRecords, 'create' | 'remove' | 'changeTruth'>
}

export interface RevertOf {
  volumeId: string
  snapshotId: string
  /** Of the file that will be the truth. */
  copyId: string
}

export interface PlacedRevert extends Omit<PlacedContent, 'head'> {
  formerImageId: string
}

/** The row of the new image, beside the snapshot's: only there can they share blocks. */
export async function placeRevert(
  ports: RevertContentPorts,
  op: { id: string },
  { volumeId, snapshotId, copyId }: RevertOf,
  now: Date,
): Promise<PlacedRevert> {
  const from = await imageOf(ports, snapshotId)
  const plan = await planContent(ports, { from, place: from, volumeId: null })
  const copy: Copy = {
    ...from,
    imageId: copyId,
    volumeId,
    snapshotId: null,
    state: 'target',
    operationId: op.id,
    reservedBytes: plan.reservedBytes,
    retainedUntil: null,
    createdAt: now.toISOString(),
  }
  // A move of the FlexVol may have changed it until this operation began.
  const { imageId: formerImageId } = await ports.volumes.get(volumeId)
  if (formerImageId === null) throw new DomainError('conflict', 'The volume has no data to give up.')
  await ports.copies.create(copy)
  return { method: plan.method, sourceImageId: from.imageId, formerImageId }
}

export const changeToReverted = (
  ports: RevertContentPorts,
  op: { id: string; fence: number },
  { volumeId, copyId }: RevertOf,
  { formerImageId }: PlacedRevert,
  now: Date,
): Promise<void> =>
  ports.copies.changeTruth({
    volumeId,
    fromImageId: formerImageId,
    toImageId: copyId,
    operationId: op.id,
    fence: op.fence,
    retainedUntil: now.toISOString(),
  })

export async function removeFormer(
  ports: RevertContentPorts,
  op: { id: string; fence: number },
  { formerImageId }: PlacedRevert,
): Promise<void> {
  const former = await ports.copies.find(formerImageId)
  if (former === undefined) return
  await ports.backend.ensureNoImage(callerOf(op), former)
  await ports.copies.remove(former.imageId)
}

async function imageOf(ports: RevertContentPorts, snapshotId: string): Promise<Copy> {
  const { imageId } = await ports.snapshots.get(snapshotId)
  if (imageId === null) throw new DomainError('conflict', `Snapshot ${snapshotId} has no data.`)
  return ports.copies.get(imageId)
}
