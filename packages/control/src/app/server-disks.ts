import { DomainError } from '@volant/contract'
import {
  rootImageOf,
  volumeMappings,
  type BlockDeviceEntry,
  type VolumeMapping,
} from '../domain/block-device-mapping.ts'
import type { Flavor } from '../domain/flavor.ts'
import type { Principal } from '../domain/principal.ts'
import { maxDisks } from '../domain/server.ts'
import { gib, isHidden, type Volume } from '../domain/volume.ts'
import type { ServerImages } from '../ports/compute-images.ts'
import type { SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import { bootFromImage, bootFromVolume, usableImage, type Boot } from './server-boot.ts'

/** What the root disk of a server that boots from an image is: a hidden volume, or a file on its compute host. */
export type RootDisks = 'volumes' | 'local'

export interface DiskSources {
  rootDisks: RootDisks
  volumes: Pick<VolumeRecords, 'find'>
  snapshots: Pick<SnapshotRecords, 'find'>
  images: ServerImages
}

/** The part of a request for servers that is about disks. */
export interface DiskRequest {
  imageId?: string
  blockDevices: BlockDeviceEntry[]
  maxCount: number
}

/** The disks of a server to be, and what it starts from. */
export interface DiskPlan {
  mappings: VolumeMapping[]
  imageId: string | null
  boot: Boot
  /** The hidden volume that is to be the root disk. */
  rootVolume: { imageId: string; sizeGib: number } | null
}

/** Checks images, volumes and their order against each other. Changes nothing. */
export async function planDisks(
  options: DiskSources,
  principal: Principal,
  request: DiskRequest,
  flavor: Flavor,
): Promise<DiskPlan> {
  const { blockDevices } = request
  const namedImage = request.imageId ?? rootImageOf(blockDevices)
  if (namedImage === undefined && blockDevices.length === 0) {
    throw new DomainError('invalid', 'Missing imageRef attribute')
  }
  const mappings = volumeMappings(blockDevices, namedImage)
  // With a volume to boot from, the image makes no disk.
  const imageId = mappings.some(({ bootIndex }) => bootIndex === 0) ? undefined : namedImage
  if (mappings.length + (imageId === undefined ? 0 : 1) > maxDisks) {
    throw new DomainError(
      'invalid',
      'Block Device Mapping is Invalid: You specified more local devices than the limit allows',
    )
  }
  if (request.maxCount > 1 && mappings.some(({ source }) => 'volumeId' in source)) {
    throw new DomainError('invalid', 'Cannot attach one or more volumes to multiple instances')
  }
  await checkVolumes(options, principal, mappings, flavor)
  if (imageId !== undefined) {
    const image = await usableImage(options.images, principal, imageId, flavor)
    const boot = await bootFromImage(options.images, principal, image, flavor)
    return { mappings, imageId, ...placeRootDisk(options.rootDisks, imageId, boot) }
  }
  return { mappings, imageId: null, boot: await volumeBoot(options, principal, mappings), rootVolume: null }
}

function placeRootDisk(
  rootDisks: RootDisks,
  imageId: string,
  boot: Boot,
): Pick<DiskPlan, 'boot' | 'rootVolume'> {
  const { rootDisk } = boot
  if (rootDisk === null) return { boot, rootVolume: null }
  if (rootDisks === 'volumes') {
    return { boot, rootVolume: { imageId, sizeGib: Math.ceil(rootDisk.sizeBytes / gib) } }
  }
  return { boot: { ...boot, source: { ...boot.source, rootDisk } }, rootVolume: null }
}

async function volumeBoot(
  options: DiskSources,
  principal: Principal,
  mappings: readonly VolumeMapping[],
): Promise<Boot> {
  const source = mappings.find(({ bootIndex }) => bootIndex === 0)?.source
  if (source === undefined) return { kernelId: null, ramdiskId: null, source: {}, rootDisk: null }
  if ('volumeId' in source) {
    const volume = await options.volumes.find(source.volumeId)
    return bootFromVolume(options.images, principal, { imageMetadata: volume?.imageMetadata ?? {} })
  }
  if ('snapshotId' in source) {
    const snapshot = await options.snapshots.find(source.snapshotId)
    const volume = await options.volumes.find(snapshot?.volumeId ?? '')
    return bootFromVolume(options.images, principal, { imageMetadata: volume?.imageMetadata ?? {} })
  }
  if (!('imageId' in source)) {
    throw new DomainError('invalid', 'Block Device Mapping is Invalid: A blank volume is not bootable.')
  }
  const image = await options.images.visible(principal, source.imageId)
  return bootFromVolume(options.images, principal, { imageMetadata: image?.properties ?? {} })
}

async function checkVolumes(
  options: DiskSources,
  principal: Principal,
  mappings: readonly VolumeMapping[],
  flavor: Flavor,
): Promise<void> {
  const seen = new Set<string>()
  for (const { source, bootIndex } of mappings) {
    if ('imageId' in source) await usableImage(options.images, principal, source.imageId, flavor)
    if ('snapshotId' in source) await checkSnapshot(options, principal, source, bootIndex)
    if (!('volumeId' in source)) continue
    const volume = await options.volumes.find(source.volumeId)
    const isOwn = volume?.projectId === principal.projectId && !isHidden(volume)
    if (volume === undefined || !isOwn || seen.has(volume.id)) {
      throw new DomainError(
        'invalid',
        `Block Device Mapping is Invalid: failed to get volume ${source.volumeId}.`,
      )
    }
    seen.add(volume.id)
    if (bootIndex === 0 && !volume.bootable) {
      throw new DomainError('invalid', `Block Device ${volume.id} is not bootable.`)
    }
    requireAvailable(volume)
  }
}

async function checkSnapshot(
  options: DiskSources,
  principal: Principal,
  { snapshotId, sizeGib }: { snapshotId: string; sizeGib: number | null },
  bootIndex: number | null,
): Promise<void> {
  const refuse = (details: string): never => {
    throw new DomainError('invalid', `Block Device Mapping is Invalid: ${details}`)
  }
  const snapshot = await options.snapshots.find(snapshotId)
  const isOwn = snapshot?.projectId === principal.projectId && snapshot.shareId === null
  if (snapshot === undefined || !isOwn) {
    return refuse(`failed to get snapshot ${snapshotId}.`)
  }
  if (snapshot.status !== 'available') {
    refuse(`snapshot ${snapshotId} must be available, but it is ${snapshot.status}.`)
  }
  if (sizeGib !== null && sizeGib < snapshot.sizeGib) {
    refuse(`snapshot ${snapshotId} has ${snapshot.sizeGib} GiB, which is more than volume_size ${sizeGib}.`)
  }
  const volume = await options.volumes.find(snapshot.volumeId)
  if (bootIndex === 0 && volume?.bootable !== true) {
    throw new DomainError('invalid', `Block Device ${snapshotId} is not bootable.`)
  }
}

function requireAvailable(volume: Volume): void {
  if (volume.status !== 'available') {
    throw new DomainError(
      'invalid',
      `Invalid volume: volume '${volume.id}' status must be 'available'. Currently in '${volume.status}'`,
    )
  }
}
