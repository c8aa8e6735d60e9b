import { DomainError } from '@volant/contract'
import { nothingToUndo, operation } from '@volant/saga'
import {
  imageBytesFor,
  junctionPathOf,
  shareFlexVolName,
  type Share,
  type ShareStatus,
} from '../domain/share.ts'
import { shareMessageEvents } from '../domain/share-message.ts'
import {
  gib,
  newFlexVol,
  type AggregatePlace,
  type Attachment,
  type Copy,
  type Volume,
} from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { CopyRecords, FlexVolRecords, SnapshotRecords } from '../ports/records.ts'
import type { ShareGround, ShareRecords } from '../ports/shares.ts'
import { callerOf } from './caller.ts'
import {
  contentWait,
  lookAtContent,
  planContent,
  removeContent,
  sealContent,
  startContent,
  type ContentPorts,
} from './content.ts'
import { unlessGone } from './create-flexvol.ts'
import { throughRestart } from './patience.ts'
import { clearShareFailure, noteShareFailure, type ShareFailureNotes } from './share-failure.ts'
import {
  ensureNoShareFileSystem,
  ensureNoShareHead,
  ensureNotExported,
  ensureShareExport,
  ensureShareFileSystem,
  ensureShareHead,
  requireShareAttachment,
  shareServiceOf,
  type ShareServicePorts,
} from './share-service.ts'

export interface CreateShareInput {
  /** The row is there, `creating` or `creating_from_snapshot`. */
  shareId: string
  projectId: string
  requestId: string
  sizeGib: number
  /** Chosen at the request, as all that follow: every step knows them from the start. */
  flexvolId: string
  volumeId: string
  /** Of the file that will hold its bytes. */
  copyId: string
  attachmentId: string
  /** Where it will be. */
  place: AggregatePlace
  /** A snapshot of a share of the same cluster, which is not deleted meanwhile. Null: an empty file system. */
  source: { snapshotId: string } | null
}

type Own = 'agents' | 'attachments' | 'backend' | 'copies' | 'shares'

export interface CreateSharePorts
  extends ShareFailureNotes, Omit<ShareServicePorts, Own>, Omit<ContentPorts, Own> {
  shares: Pick<ShareRecords, 'find' | 'get' | 'updateIf'>
  ground: ShareGround
  snapshots: Pick<SnapshotRecords, 'get'>
  flexvols: Pick<FlexVolRecords, 'find' | 'get'>
  copies: ContentPorts['copies'] & Pick<CopyRecords, 'ofSnapshot' | 'update'>
  attachments: ContentPorts['attachments']
  agents: ShareServicePorts['agents']
  backend: ContentPorts['backend'] &
    Pick<Backend, 'ensureFlexVolAt' | 'ensureNoFlexVolAt' | 'ensureImageSize'>
}

const creating: readonly ShareStatus[] = ['creating', 'creating_from_snapshot']

/**
 * Makes a share where it was placed: a FlexVol of its own, a volume in it that no Cinder user sees, a file system on that,
 * and an export that admits nobody yet. Failed, it leaves nothing but the row, in `error`.
 */
export const createShare = operation<CreateShareInput, CreateSharePorts>('share.create', { version: 1 })
  .holds(({ shareId, volumeId, flexvolId }) => [
    `share/${shareId}`,
    `volume/${volumeId}`,
    `flexvol/${flexvolId}`,
  ])

  .step('layGround', {
    do: async ({ op, input, ports, now }) =>
      noting(ports, op, input, now(), async () => {
        const share = await ports.shares.get(input.shareId)
        const placed = await planImage(ports, input)
        const copy = placed.sourceImageId === null ? null : await ports.copies.get(placed.sourceImageId)
        await ports.ground.lay(share.id, {
          ...groundOf(ports, share, input, now().toISOString()),
          copy: imageOf(input, op.id, now().toISOString(), {
            sizeBytes: copy?.sizeBytes ?? imageBytesFor(input.sizeGib),
            reservedBytes: placed.reservedBytes,
          }),
        })
        return placed
      }),
    undo: async ({ input, ports }) => {
      await ports.ground.clear(input.shareId)
      await ports.shares.updateIf(input.shareId, { status: creating }, { status: 'error' })
    },
  })

  .step('makeFolder', {
    do: async ({ op, input, ports, now }) =>
      noting(ports, op, input, now(), async () => {
        await ports.backend.ensureFlexVolAt(
          callerOf(op),
          await ports.flexvols.get(input.flexvolId),
          input.place,
        )
        return null
      }),
    undo: async ({ op, input, ports }) => {
      const flexvol = await ports.flexvols.find(input.flexvolId)
      if (flexvol === undefined) return
      await ports.backend.ensureNoFlexVolAt(callerOf(op), flexvol, input.place).catch(unlessGone)
    },
    skipUndo: 'an empty folder stays behind on the aggregate, which keeps the aggregate from being deleted',
    retry: throughRestart,
  })

  .step('makeImage', {
    do: async ({ op, input, out, ports, now }) =>
      noting(ports, op, input, now(), async () => {
        const { sourceImageId, method } = out.layGround
        if (sourceImageId === null) {
          await ports.backend.ensureImage(callerOf(op), await ports.copies.get(input.copyId))
        } else {
          await startContent(ports, op, input.copyId, { sourceImageId, method })
        }
        return null
      }),
    undo: async ({ op, input, out, ports }) => {
      const { sourceImageId, method } = out.layGround
      if (sourceImageId !== null) {
        return removeContent(ports, op, input.copyId, { sourceImageId, method })
      }
      const copy = await ports.copies.find(input.copyId)
      if (copy !== undefined) await ports.backend.ensureNoImage(callerOf(op), copy)
    },
    skipUndo: 'what was made of the image stays behind as a stray, which nothing uses',
    retry: throughRestart,
  })

  .wait('copied', {
    ...contentWait,
    until: async ({ op, input, out, ports, now }) =>
      noting(ports, op, input, now(), async () => {
        const { sourceImageId, method } = out.layGround
        if (sourceImageId === null) return { done: true, advance: null }
        return lookAtContent(ports, op, input.copyId, { sourceImageId, method })
      }),
  })

  // An image grows only while nobody has it open.
  .step('finishImage', {
    do: async ({ op, input, out, ports, now }) =>
      noting(ports, op, input, now(), async () => {
        const { sourceImageId, method } = out.layGround
        if (sourceImageId !== null) {
          await sealContent(ports, op, input.copyId, { sourceImageId, method }, false)
          const copy = await ports.copies.get(input.copyId)
          const sizeBytes = Math.max(copy.sizeBytes, imageBytesFor(input.sizeGib))
          await ports.backend.ensureImageSize(callerOf(op), copy, sizeBytes)
          await ports.copies.update(input.copyId, { sizeBytes })
        }
        await ports.ground.complete(input.shareId, input.copyId, now().toISOString())
        return null
      }),
    // The undo of the first step removes all the rows.
    undo: nothingToUndo,
    retry: throughRestart,
  })

  .step('openHead', {
    do: async ({ op, input, ports, now }) =>
      noting(ports, op, input, now(), async () => {
        await ensureShareHead(ports, callerOf(op), await ports.shares.get(input.shareId))
        return null
      }),
    undo: async ({ op, input, ports }) => ensureNoShareHead(ports, callerOf(op), input.shareId),
    retry: throughRestart,
  })

  .step('makeFileSystem', {
    do: async ({ op, input, ports, now }) =>
      noting(ports, op, input, now(), async () => {
        await makeFileSystem(ports, op, input)
        return null
      }),
    undo: async ({ op, input, ports }) => ensureNoShareFileSystem(ports, callerOf(op), input.shareId),
    retry: throughRestart,
  })

  .step('exportShare', {
    do: async ({ op, input, ports, now }) =>
      noting(ports, op, input, now(), async () => {
        // Its block device may have been lost since: only what is exported is mounted anew by itself.
        await makeFileSystem(ports, op, input)
        await ensureShareExport(ports, callerOf(op), input.shareId)
        return null
      }),
    undo: async ({ op, input, ports }) => ensureNotExported(ports, callerOf(op), input.shareId),
    retry: throughRestart,
  })

  .commit('publish', {
    do: async ({ op, input, ports }) => {
      await clearShareFailure(ports, op)
      await ports.shares.updateIf(input.shareId, { status: creating }, { status: 'available' })
      return null
    },
    happened: async ({ input, ports }) => !creating.includes((await ports.shares.get(input.shareId)).status),
  })

const noting = <T>(
  ports: CreateSharePorts,
  op: { id: string },
  input: CreateShareInput,
  now: Date,
  work: () => Promise<T>,
): Promise<T> => {
  const event =
    input.source === null ? shareMessageEvents.createFailed : shareMessageEvents.createFromSnapshotFailed
  return noteShareFailure(ports, op, input, event, now, work)
}

/** Where its bytes come from, and how; decided once. */
async function planImage(ports: CreateSharePorts, { source, place }: CreateShareInput) {
  if (source === null) return { sourceImageId: null, method: 'clone' as const, reservedBytes: 0 }
  const from = await sourceImage(ports, source.snapshotId, place)
  const { method, reservedBytes } = await planContent(ports, { from, place, volumeId: null })
  return { sourceImageId: from.imageId, method, reservedBytes }
}

/** The snapshot may have moved since the request, and its former image is as good as long as it is kept. */
async function sourceImage(
  ports: CreateSharePorts,
  snapshotId: string,
  place: AggregatePlace,
): Promise<Copy> {
  const { imageId } = await ports.snapshots.get(snapshotId)
  if (imageId === null) throw new DomainError('conflict', `Snapshot ${snapshotId} has no data.`)
  const truth = await ports.copies.get(imageId)
  const isBeside = (copy: Copy): boolean => copy.node === place.node && copy.aggregate === place.aggregate
  if (isBeside(truth)) return truth
  const all = await ports.copies.ofSnapshot(snapshotId)
  return all.find((copy) => copy.state !== 'target' && isBeside(copy)) ?? truth
}

function groundOf(ports: CreateSharePorts, share: Share, input: CreateShareInput, createdAt: string) {
  const { lif, node } = shareServiceOf(ports.topology, share.cluster)
  const name = shareFlexVolName(share.id)
  const flexvol = {
    ...newFlexVol(
      {
        cluster: share.cluster,
        name,
        lif,
        junctionPath: junctionPathOf(share.id),
        ...input.place,
        sizeBytes: input.sizeGib * gib,
        shareId: share.id,
      },
      createdAt,
    ),
    id: input.flexvolId,
  }
  const volume: Volume = {
    id: input.volumeId,
    projectId: share.projectId,
    userId: share.userId,
    name,
    description: null,
    sizeGib: input.sizeGib,
    status: 'creating',
    migrationStatus: null,
    previousStatus: null,
    bootable: false,
    multiattach: false,
    availabilityZone: share.availabilityZone,
    volumeTypeId: null,
    flexvolId: input.flexvolId,
    imageId: null,
    sourceVolid: null,
    snapshotId: input.source?.snapshotId ?? null,
    shareId: share.id,
    rootOf: null,
    metadata: {},
    imageMetadata: {},
    createdAt,
    updatedAt: null,
  }
  const attachment: Attachment = {
    id: input.attachmentId,
    headId: input.attachmentId,
    volumeId: input.volumeId,
    serverId: null,
    projectId: share.projectId,
    host: node,
    shareId: share.id,
    rootOf: null,
    status: 'attaching',
    attachMode: 'rw',
    mountpoint: null,
    bootIndex: null,
    deleteOnTermination: false,
    connector: null,
    attachedAt: null,
    createdAt,
  }
  return { flexvol, volume, attachment }
}

const imageOf = (
  { copyId, volumeId, flexvolId, place }: CreateShareInput,
  operationId: string,
  createdAt: string,
  bytes: Pick<Copy, 'sizeBytes' | 'reservedBytes'>,
): Copy => ({
  imageId: copyId,
  volumeId,
  snapshotId: null,
  flexvolId,
  node: place.node,
  aggregate: place.aggregate,
  ...bytes,
  state: 'target',
  operationId,
  retainedUntil: null,
  createdAt,
})

/** A clone has the size that its origin had, and grows to its own. */
async function makeFileSystem(
  ports: CreateSharePorts,
  op: { id: string; fence: number },
  { shareId, source, sizeGib }: CreateShareInput,
): Promise<void> {
  const share = await ports.shares.get(shareId)
  const head = await ensureShareHead(ports, callerOf(op), share)
  if (source === null) {
    return ensureShareFileSystem(ports, callerOf(op), share, { head, content: 'format', sizeGib })
  }
  const origin = await ports.snapshots.get(source.snapshotId)
  const spec = { head, content: 'clone' as const, sizeGib: origin.sizeGib }
  await ensureShareFileSystem(ports, callerOf(op), share, spec)
  const { host } = await requireShareAttachment(ports, share)
  await ports.agents.shares(host).ensureFileSystemSize(callerOf(op), shareId, sizeGib * gib)
}
