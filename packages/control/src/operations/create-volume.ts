import { DomainError, messageOf } from '@volant/contract'
import { operation } from '@volant/saga'
import { noPoolMessage, placeVolume } from '../domain/placement.ts'
import { gib, placeForNew, type Copy } from '../domain/volume.ts'
import { messageEvents } from '../domain/volume-message.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { Pools, VolumeCreation } from '../ports/block-storage.ts'
import type { ImageRegistry } from '../ports/images.ts'
import type { CopyRecords, FlexVolRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { noteFailure, type FailureNotes } from './failure-note.ts'

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

export interface CreateVolumePorts extends FailureNotes {
  volumes: Pick<VolumeRecords, 'find' | 'get'>
  copies: Pick<CopyRecords, 'find' | 'get'>
  flexvols: Pick<FlexVolRecords, 'get'>
  creation: VolumeCreation
  pools: Pools
  backend: Pick<Backend, 'ensureImage' | 'ensureImageFrom' | 'ensureNoImage'>
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
        const flexvol = await choosePool(input, ports)
        const copy: Copy = {
          imageId: input.copyId,
          volumeId: input.volumeId,
          snapshotId: null,
          flexvolId: flexvol.id,
          ...placeForNew(flexvol),
          sizeBytes: input.sizeGib * gib,
          state: 'target',
          operationId: op.id,
          reservedBytes: input.source?.dataBytes ?? 0,
          retainedUntil: null,
          createdAt: now().toISOString(),
        }
        await ports.creation.begin(copy, input.source === null ? 'creating' : 'downloading')
        return { flexvolId: flexvol.id }
      }),
    undo: async ({ input, ports, now }) => {
      await ports.creation.abandon(input.volumeId, input.copyId, now().toISOString())
    },
  })

  .step('makeImage', {
    do: async ({ op, input, ports, now }) =>
      noteFailure(ports, op, input, messageEvents.createFailed, now(), async () => {
        const copy = await ports.copies.get(input.copyId)
        const from = await sourceFile(input, ports)
        if (from === null) await ports.backend.ensureImage(callerOf(op), copy)
        else await ports.backend.ensureImageFrom(callerOf(op), copy, from)
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

async function choosePool(input: CreateVolumeInput, ports: CreateVolumePorts) {
  const pools = await ports.pools.recentCandidates()
  const { source } = input
  const placement = placeVolume(
    {
      sizeBytes: input.sizeGib * gib,
      dataBytes: source?.dataBytes ?? 0,
      availabilityZone: input.availabilityZone,
      extraSpecs: input.extraSpecs,
      ...(source?.kind === 'volume' && { machine: source.machine }),
    },
    pools,
  )
  const best = placement.fitting[0]
  if (best === undefined) throw new DomainError('noCapacity', noPoolMessage(placement))
  return ports.flexvols.get(best.flexvolId)
}

/** Null: an empty volume. */
async function sourceFile(
  input: CreateVolumeInput,
  ports: CreateVolumePorts,
): Promise<{ path: string; format: 'raw' | 'qcow2' } | null> {
  const { source } = input
  if (source === null) return null
  if (source.kind === 'image') return ports.images.file(source.imageId)
  const original = await ports.volumes.get(source.volumeId)
  if (original.status !== 'available' || original.imageId === null) {
    throw new DomainError(
      'conflict',
      `Source volume ${original.id} must be available to be copied, but it is ${original.status}.`,
    )
  }
  const copy = await ports.copies.get(original.imageId)
  const flexvol = await ports.flexvols.get(copy.flexvolId)
  try {
    const access = await ports.agents
      .storage(copy.node)
      .fileAccess({ imageId: copy.imageId, aggregate: copy.aggregate, flexvol: flexvol.name })
    return { path: access.path, format: 'raw' }
  } catch (error) {
    throw new DomainError('unavailable', `Source volume ${original.id} cannot be read: ${messageOf(error)}`, {
      cause: error,
    })
  }
}
