import { randomUUID } from 'node:crypto'
import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { Topology } from '../domain/topology.ts'
import { defaultTypeName, type VolumeType } from '../domain/volume-type.ts'
import { gib, type Volume } from '../domain/volume.ts'
import { createVolume, type CreateVolumeInput, type VolumeSource } from '../operations/create-volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { BlockQuotaRecords } from '../ports/block-storage.ts'
import type { Clock } from '../ports/clock.ts'
import type { ImageRegistry, RegisteredImage } from '../ports/images.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { Places } from '../ports/places.ts'
import type { CopyRecords, SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import { invalidSnapshot, visibleSnapshot } from './snapshot-access.ts'
import type { VolumeTypes } from './volume-type.ts'
import { invalidInput, isMigrating, projectOf, visibleVolume } from './volume-access.ts'

export interface CreateVolumeRequest {
  name: string | null
  description: string | null
  /** Null: the source's size. */
  sizeGib: number | null
  /** Id or name; null: the source's, or the default. */
  volumeType: string | null
  availabilityZone: string | null
  metadata: Record<string, string>
  /** An image's id, or its name. */
  imageId: string | null
  sourceVolid: string | null
  snapshotId: string | null
  requestId: string
}

/** 8 PiB less one: sizes in bytes stay exact numbers. */
export const maxSizeGib = 8_388_607

export interface VolumeCreations {
  /** Returns while the volume is still `creating`. Throws `overQuota` with Cinder's words. */
  create(principal: Principal, request: CreateVolumeRequest): Promise<{ volume: Volume; type: VolumeType }>
  /** As `VolumeCreator.createRootDisk`. */
  createRootDisk(
    principal: Principal,
    request: { serverId: string; imageId: string; sizeGib: number },
  ): Promise<Volume>
}

export interface VolumeCreationSources {
  volumes: Pick<VolumeRecords, 'find' | 'get' | 'create' | 'remove'>
  copies: Pick<CopyRecords, 'get'>
  snapshots: Pick<SnapshotRecords, 'find'>
  quotas: Pick<BlockQuotaRecords, 'createVolume'>
  types: Pick<VolumeTypes, 'usable'>
  images: Pick<ImageRegistry, 'visible' | 'named'>
  backend: Pick<Backend, 'canShare' | 'imageInfo'>
  engine: OperationEngine
  places: Places
  topology: Topology
  clock: Clock
}

interface Origin {
  source: VolumeSource | null
  /** The smallest size that holds it. */
  defaultSizeGib: number | null
  volumeTypeId: string | null
  sourceVolid: string | null
  snapshotId: string | null
}

export const createVolumeCreations = (sources: VolumeCreationSources): VolumeCreations => ({
  async create(principal, request) {
    const projectId = projectOf(principal)
    enforce(principal, 'volume:create', 'member', projectId)
    requireZone(sources.topology, request.availabilityZone)
    const origin = await originOf(sources, principal, request)
    const sizeGib = request.sizeGib ?? origin.defaultSizeGib
    if (sizeGib === null) {
      throw invalidInput(`Volume size 'None' must be an integer and greater than 0`)
    }
    if (sizeGib > maxSizeGib) {
      throw invalidInput(
        `Volume size '${sizeGib}' is larger than ${maxSizeGib} GiB, the most a volume can have`,
      )
    }
    const typeText = request.volumeType ?? origin.volumeTypeId ?? defaultTypeName
    const type = await sources.types.usable(principal, typeText)
    const volume = newVolume(sources, principal, projectId, request, { sizeGib, typeId: type.id, origin })
    await sources.quotas.createVolume(volume)
    await begin(sources, volume, {
      requestId: request.requestId,
      availabilityZone: request.availabilityZone,
      extraSpecs: type.extraSpecs,
      source: origin.source,
    })
    return { volume, type }
  },
  async createRootDisk(principal, { serverId, imageId, sizeGib }) {
    const origin = await originImage(sources, principal, imageId, sizeGib)
    const request = { name: null, description: null, availabilityZone: null, metadata: {} }
    const chosen = { sizeGib, typeId: null, origin }
    const volume = {
      ...newVolume(sources, principal, projectOf(principal), request, chosen),
      rootOf: serverId,
    }
    await sources.volumes.create(volume)
    const requestId = `req-${randomUUID()}`
    const { source } = origin
    await begin(sources, volume, { requestId, availabilityZone: null, extraSpecs: {}, source })
    return volume
  },
})

/** Its row is there; where the operation can't be recorded, it is gone again. */
async function begin(
  { engine, volumes }: VolumeCreationSources,
  { id: volumeId, projectId, sizeGib }: Volume,
  how: Pick<CreateVolumeInput, 'requestId' | 'availabilityZone' | 'extraSpecs' | 'source'>,
): Promise<void> {
  try {
    await engine.start(createVolume, { volumeId, projectId, sizeGib, copyId: randomUUID(), ...how })
  } catch (error) {
    await volumes.remove(volumeId)
    throw error
  }
}

function newVolume(
  { clock, topology }: VolumeCreationSources,
  principal: Principal,
  projectId: string,
  request: Pick<CreateVolumeRequest, 'name' | 'description' | 'availabilityZone' | 'metadata'>,
  chosen: { sizeGib: number; typeId: string | null; origin: Origin },
): Volume {
  return {
    id: randomUUID(),
    projectId,
    userId: principal.userId,
    name: request.name,
    description: request.description,
    sizeGib: chosen.sizeGib,
    status: 'creating',
    migrationStatus: null,
    previousStatus: null,
    bootable: false,
    multiattach: false,
    availabilityZone: request.availabilityZone ?? topology.availabilityZone,
    volumeTypeId: chosen.typeId,
    flexvolId: null,
    imageId: null,
    sourceVolid: chosen.origin.sourceVolid,
    snapshotId: chosen.origin.snapshotId,
    metadata: request.metadata,
    shareId: null,
    rootOf: null,
    imageMetadata: {},
    createdAt: clock.now().toISOString(),
    updatedAt: null,
  }
}

function requireZone(topology: Topology, zone: string | null): void {
  if (zone === null || zone === topology.availabilityZone) return
  throw invalidInput(`Availability zone '${zone}' is invalid. There is: ${topology.availabilityZone}.`)
}

const noOrigin: Origin = {
  source: null,
  defaultSizeGib: null,
  volumeTypeId: null,
  sourceVolid: null,
  snapshotId: null,
}

async function originOf(
  sources: VolumeCreationSources,
  principal: Principal,
  request: CreateVolumeRequest,
): Promise<Origin> {
  const { imageId, sourceVolid, snapshotId, sizeGib } = request
  if ([imageId, sourceVolid, snapshotId].filter((id) => id !== null).length > 1) {
    throw invalidInput('Only one of imageRef, source_volid and snapshot_id can be given.')
  }
  if (imageId !== null) return originImage(sources, principal, imageId, sizeGib)
  if (sourceVolid !== null) return originVolume(sources, principal, sourceVolid, sizeGib)
  if (snapshotId !== null) return originSnapshot(sources, principal, snapshotId, sizeGib)
  return noOrigin
}

async function originImage(
  sources: VolumeCreationSources,
  principal: Principal,
  imageId: string,
  sizeGib: number | null,
): Promise<Origin> {
  const image = await imageOf(sources, principal, imageId)
  if (image.status !== 'active') {
    throw new DomainError('invalid', `Image ${image.id} is not active.`)
  }
  if (image.diskFormat !== 'raw' && image.diskFormat !== 'qcow2') {
    throw new DomainError(
      'invalid',
      `Image ${image.id} has the disk format ${String(image.diskFormat)}: a volume is made from raw or qcow2.`,
    )
  }
  if (sizeGib !== null) requireImageFits(image, sizeGib)
  const source: VolumeSource = {
    kind: 'image',
    imageId: image.id,
    dataBytes: Math.min(image.sizeBytes, image.virtualSizeBytes),
    imageMetadata: imageMetadataOf(image),
  }
  return { ...noOrigin, source }
}

/** As Cinder finds it: by its id, also at the end of a URL, and else by its name. */
async function imageOf(
  { images }: VolumeCreationSources,
  principal: Principal,
  reference: string,
): Promise<RegisteredImage> {
  const found = await images.visible(principal, reference.slice(reference.lastIndexOf('/') + 1))
  if (found !== undefined) return found
  const [image, ...others] = await images.named(principal, reference)
  if (others.length > 0) {
    throw new DomainError(
      'conflict',
      `Multiple matches found for '${reference}', use an ID to be more specific.`,
    )
  }
  if (image !== undefined) return image
  throw new DomainError('invalid', 'Invalid image identifier or unable to access requested image.')
}

function requireImageFits(image: RegisteredImage, sizeGib: number): void {
  const imageGib = Math.ceil(image.virtualSizeBytes / gib)
  if (imageGib > sizeGib) {
    throw invalidInput(`Size of specified image ${imageGib}GB is larger than volume size ${sizeGib}GB.`)
  }
  if (image.minDiskGib > sizeGib) {
    throw invalidInput(
      `Volume size ${sizeGib}GB cannot be smaller than the image minDisk size ${image.minDiskGib}GB.`,
    )
  }
}

/** As Cinder's `volume_image_metadata`. */
const imageMetadataOf = (image: RegisteredImage): Record<string, string> => ({
  ...image.properties,
  image_id: image.id,
  image_name: image.name ?? '',
  ...(image.checksum !== null && { checksum: image.checksum }),
  container_format: image.containerFormat ?? '',
  disk_format: image.diskFormat ?? '',
  min_disk: String(image.minDiskGib),
  min_ram: String(image.minRamMib),
  size: String(image.sizeBytes),
})

async function originVolume(
  sources: VolumeCreationSources,
  principal: Principal,
  sourceVolid: string,
  sizeGib: number | null,
): Promise<Origin> {
  const original = await visibleVolume(sources.volumes, principal, sourceVolid)
  const inUse = original.status === 'in-use' || original.status === 'reserved'
  if (original.imageId === null || !(original.status === 'available' || inUse) || isMigrating(original)) {
    throw invalidInput(
      `Source volume ${original.id} must be available or in-use, and must not be migrating, to be copied, but it ` +
        `is ${isMigrating(original) ? 'migrating' : original.status}.`,
    )
  }
  requireOriginFits('volume', original.sizeGib, sizeGib)
  const copy = await sources.copies.get(original.imageId)
  if (inUse && !(await sources.backend.canShare(copy))) {
    throw invalidInput(
      `Source volume ${original.id} is in use, and aggregate ${copy.aggregate} cannot clone it: detach it, or make ` +
        'a snapshot of it with force, and create the volume from that.',
    )
  }
  const info = await sources.backend.imageInfo(copy)
  const source: VolumeSource = {
    kind: 'volume',
    volumeId: original.id,
    dataBytes: info?.allocatedBytes ?? 0,
    machine: sources.places.machineOfNode(copy.node),
    bootable: original.bootable,
    imageMetadata: original.imageMetadata,
  }
  return {
    ...noOrigin,
    source,
    defaultSizeGib: original.sizeGib,
    volumeTypeId: original.volumeTypeId,
    sourceVolid: original.id,
  }
}

function requireOriginFits(what: 'volume' | 'snapshot', originGib: number, sizeGib: number | null): void {
  if (sizeGib === null || sizeGib >= originGib) return
  const original = what === 'volume' ? 'original volume' : 'snapshot'
  throw invalidInput(
    `Volume size '${sizeGib}'GB cannot be smaller than ${original} size ${originGib}GB. ` +
      `They must be >= ${original} size.`,
  )
}

async function originSnapshot(
  sources: VolumeCreationSources,
  principal: Principal,
  snapshotId: string,
  sizeGib: number | null,
): Promise<Origin> {
  const snapshot = await visibleSnapshot(sources.snapshots, principal, snapshotId)
  if (snapshot.status !== 'available' || snapshot.imageId === null) {
    throw invalidSnapshot(
      `Originating snapshot ${snapshotId} status must be available, but it is ${snapshot.status}.`,
    )
  }
  requireOriginFits('snapshot', snapshot.sizeGib, sizeGib)
  const volume = await sources.volumes.get(snapshot.volumeId)
  const copy = await sources.copies.get(snapshot.imageId)
  const info = await sources.backend.imageInfo(copy)
  const source: VolumeSource = {
    kind: 'snapshot',
    snapshotId,
    dataBytes: info?.allocatedBytes ?? 0,
    machine: sources.places.machineOfNode(copy.node),
    bootable: volume.bootable,
    imageMetadata: volume.imageMetadata,
  }
  return {
    ...noOrigin,
    source,
    defaultSizeGib: snapshot.sizeGib,
    volumeTypeId: volume.volumeTypeId,
    snapshotId,
  }
}
