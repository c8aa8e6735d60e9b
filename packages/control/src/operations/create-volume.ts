import { DomainError, messageOf, type Caller } from '@volant/contract'
import { operation } from '@volant/saga'
import { noPoolMessage, placeVolume } from '../domain/placement.ts'
import { gib, placeForNew, type AggregatePlace, type Copy } from '../domain/volume.ts'
import { messageEvents } from '../domain/volume-message.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { Pools, VolumeCreation } from '../ports/block-storage.ts'
import type { ImageRegistry } from '../ports/images.ts'
import type { CopyRecords, FlexVolRecords, SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { noteFailure, type FailureNotes } from './failure-note.ts'
import { ensureGrownClone } from './grown-clone.ts'

export interface CreateVolumeInput {
  /** The row is there, `creating`. */
  volumeId: string
  projectId: string
  requestId: string
  sizeGib: number
  /** Of the file that will hold its bytes. */
  copyId: string
  /** Null: any. */
  availabilityZone: string | null
  extraSpecs: Record<string, string>
  source: VolumeSource | null
}

/** Where the first bytes come from. */
export type VolumeSource =
  | { kind: 'image'; imageId: string; dataBytes: number; imageMetadata: Record<string, string> }
  | {
      kind: 'volume'
      volumeId: string
      dataBytes: number
      /** The source's machine: its file is read there. */
      machine: string
      bootable: boolean
      imageMetadata: Record<string, string>
    }
  | {
      kind: 'snapshot'
      /** Not deleted while a volume is being made of it; nobody ever writes to it. */
      snapshotId: string
      dataBytes: number
      /** The snapshot's machine. */
      machine: string
      bootable: boolean
      imageMetadata: Record<string, string>
    }

export interface CreateVolumePorts extends FailureNotes {
  volumes: Pick<VolumeRecords, 'find' | 'get'>
  copies: Pick<CopyRecords, 'find' | 'get' | 'ofSnapshot'>
  snapshots: Pick<SnapshotRecords, 'get'>
  flexvols: Pick<FlexVolRecords, 'get'>
  creation: VolumeCreation
  pools: Pools
  backend: Pick<
    Backend,
    | 'canShare'
    | 'ensureClone'
    | 'ensureImage'
    | 'ensureImageFrom'
    | 'ensureImageSize'
    | 'ensureNoImage'
    | 'imageInfo'
  >
  agents: Pick<Agents, 'storage'>
  images: Pick<ImageRegistry, 'file'>
}

/** Makes a new volume: chooses its pool, makes its image there, and records the image as its truth. */
export const createVolume = operation<CreateVolumeInput, CreateVolumePorts>('volume.create', { version: 1 })
  .holds(({ volumeId, source }) => [
    `volume/${volumeId}`,
    ...(source?.kind === 'volume' ? [`volume/${source.volumeId}`] : []),
  ])

  .step('choosePool', {
    do: async ({ op, input, ports, now }) =>
      noteFailure(ports, op, input, messageEvents.scheduleFailed, now(), async () => {
        const placed = await ports.copies.find(input.copyId)
        if (placed !== undefined) return { flexvolId: placed.flexvolId }
        const place = await choosePlace(input, ports)
        const copy: Copy = {
          imageId: input.copyId,
          volumeId: input.volumeId,
          snapshotId: null,
          flexvolId: place.flexvolId,
          node: place.node,
          aggregate: place.aggregate,
          sizeBytes: input.sizeGib * gib,
          state: 'target',
          operationId: op.id,
          reservedBytes: place.writesBytes,
          retainedUntil: null,
          createdAt: now().toISOString(),
        }
        await ports.creation.begin(copy, input.source === null ? 'creating' : 'downloading')
        return { flexvolId: place.flexvolId }
      }),
    undo: async ({ input, ports, now }) => {
      await ports.creation.abandon(input.volumeId, input.copyId, now().toISOString())
    },
  })

  .step('makeImage', {
    do: async ({ op, input, ports, now }) =>
      noteFailure(ports, op, input, messageEvents.createFailed, now(), async () => {
        const copy = await ports.copies.get(input.copyId)
        await makeImage(ports, callerOf(op), input, copy)
        return null
      }),
    undo: async ({ op, input, ports }) => {
      const copy = await ports.copies.find(input.copyId)
      if (copy !== undefined) await ports.backend.ensureNoImage(callerOf(op), copy)
    },
    skipUndo: 'what was made of the image stays behind as a stray, which nothing uses',
  })

  .commit('publish', {
    do: async ({ op, input, out, ports, now }) => {
      const { source } = input
      await ports.creation.complete({
        volumeId: input.volumeId,
        imageId: input.copyId,
        flexvolId: out.choosePool.flexvolId,
        bootable: source !== null && (source.kind === 'image' || source.bootable),
        imageMetadata: source?.imageMetadata ?? {},
        messageId: op.id,
        at: now().toISOString(),
      })
      return null
    },
    happened: async ({ input, ports }) =>
      (await ports.volumes.find(input.volumeId))?.imageId === input.copyId,
  })

interface Place extends AggregatePlace {
  flexvolId: string
  /** What is written there at once: 0 where blocks are shared, or nothing is copied. */
  writesBytes: number
}

/** In the pool of its origin, where the two can share blocks and it has room; else where the scheduler says. */
async function choosePlace(input: CreateVolumeInput, ports: CreateVolumePorts): Promise<Place> {
  const pools = await ports.pools.recentCandidates()
  const { source } = input
  const request = {
    sizeBytes: input.sizeGib * gib,
    dataBytes: source?.dataBytes ?? 0,
    availabilityZone: input.availabilityZone,
    extraSpecs: input.extraSpecs,
  }
  const origin = await originOf(input, ports)
  if (origin !== undefined && (await ports.backend.canShare(origin))) {
    const own = pools.filter(({ flexvolId }) => flexvolId === origin.flexvolId)
    if (placeVolume({ ...request, dataBytes: 0 }, own).fitting.length > 0) {
      const { flexvolId, node, aggregate } = origin
      return { flexvolId, node, aggregate, writesBytes: 0 }
    }
  }
  const machine = source === null || source.kind === 'image' ? {} : { machine: source.machine }
  const placement = placeVolume({ ...request, ...machine }, pools)
  const best = placement.fitting[0]
  if (best === undefined) throw new DomainError('noCapacity', noPoolMessage(placement))
  const flexvol = await ports.flexvols.get(best.flexvolId)
  return { flexvolId: flexvol.id, ...placeForNew(flexvol), writesBytes: source?.dataBytes ?? 0 }
}

/** The image that it is made of, where that is a volume's or a snapshot's. */
async function originOf(
  { source }: CreateVolumeInput,
  ports: CreateVolumePorts,
  beside?: AggregatePlace,
): Promise<Copy | undefined> {
  if (source === null || source.kind === 'image') return undefined
  if (source.kind === 'volume') {
    const volume = await ports.volumes.get(source.volumeId)
    if (volume.imageId === null) {
      throw new DomainError('conflict', `Source volume ${volume.id} has no data (any more).`)
    }
    return ports.copies.get(volume.imageId)
  }
  const { imageId } = await ports.snapshots.get(source.snapshotId)
  if (imageId === null) throw new DomainError('conflict', `Snapshot ${source.snapshotId} has no data.`)
  // The snapshot may have moved since, and its former image is as good as long as it is kept.
  const all = await ports.copies.ofSnapshot(source.snapshotId)
  const near = all.find((copy) => copy.state !== 'target' && beside !== undefined && isAt(copy, beside))
  return near ?? ports.copies.get(imageId)
}

const isAt = (copy: AggregatePlace, place: AggregatePlace): boolean =>
  copy.node === place.node && copy.aggregate === place.aggregate

async function makeImage(
  ports: CreateVolumePorts,
  caller: Caller,
  input: CreateVolumeInput,
  copy: Copy,
): Promise<void> {
  const { source } = input
  if (source === null) {
    await ports.backend.ensureImage(caller, copy)
    return
  }
  if (source.kind === 'image') {
    await ports.backend.ensureImageFrom(caller, copy, await ports.images.file(source.imageId))
    return
  }
  const origin = (await originOf(input, ports, copy)) as Copy
  if (isAt(origin, copy) && (await ports.backend.canShare(copy))) {
    await ensureGrownClone(ports, caller, copy, origin)
    return
  }
  if (source.kind === 'volume') await requireAtRest(ports, source.volumeId)
  await ports.backend.ensureImageFrom(caller, copy, await originFile(ports, origin))
}

/** A copy takes its time: nobody may write meanwhile. */
async function requireAtRest(ports: CreateVolumePorts, volumeId: string): Promise<void> {
  const { status } = await ports.volumes.get(volumeId)
  if (status === 'available') return
  throw new DomainError(
    'conflict',
    `Source volume ${volumeId} must be available to be copied, but it is ${status}, and it cannot be cloned into ` +
      'the pool of the new volume.',
  )
}

async function originFile(ports: CreateVolumePorts, origin: Copy): Promise<{ path: string; format: 'raw' }> {
  const flexvol = await ports.flexvols.get(origin.flexvolId)
  try {
    const access = await ports.agents
      .storage(origin.node)
      .fileAccess({ imageId: origin.imageId, aggregate: origin.aggregate, flexvol: flexvol.name })
    return { path: access.path, format: 'raw' }
  } catch (error) {
    throw new DomainError(
      'unavailable',
      `The source of the volume, image ${origin.imageId}, cannot be read: ${messageOf(error)}`,
      { cause: error },
    )
  }
}
