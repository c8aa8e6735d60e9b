/**
 * # An image that nobody has open goes to another aggregate
 *
 * A snapshot, or a detached volume, as a part of its FlexVol's move. Nobody writes to it, so its storage node copies it,
 * and the commit is the record alone: before it the source is the truth, after it the target, and they are equal.
 *
 *     reserveTarget → copyImage → [copied] → FLIP → settle
 *
 *     truth:  ─────────── source ────────────┃── target ──
 *
 * It gives way: until the commit whoever wants to use the volume cancels it, and nothing is left of it.
 * docs/protocol/flexvol-move.md
 */
import { final, operation } from '@volant/saga'
import { keptForTheMove, partKeys, type PartInput } from '../domain/relocation-part.ts'
import type { Copy } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { CopyToPace } from '../ports/copy-pace.ts'
import type { AttachmentRecords, CopyRecords, SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { lookAtImageCopy, type ImageCopyPorts } from './image-copy.ts'
import { throughRestart } from './patience.ts'

export interface RelocateImageInput extends PartInput {
  /**
   * The target is a former truth that was kept, and that nobody has written to since: it becomes the truth again, and
   * nothing is copied. `mark` is the source's `changeMark` when it became the truth; null: a snapshot's never changes.
   */
  kept: { mark: string | null } | null
}

export interface RelocateImagePorts extends ImageCopyPorts {
  volumes: Pick<VolumeRecords, 'find'>
  snapshots: Pick<SnapshotRecords, 'find'>
  attachments: Pick<AttachmentRecords, 'ofVolume'>
  copies: Pick<
    CopyRecords,
    'get' | 'find' | 'create' | 'remove' | 'takeBack' | 'keepAgain' | 'changeTruth' | 'changeSnapshotTruth'
  >
  backend: Pick<
    Backend,
    | 'ensureCopy'
    | 'copyStatus'
    | 'setCopyRate'
    | 'ensureCopyPaused'
    | 'ensureNoCopy'
    | 'ensureNoImage'
    | 'ensureReadOnly'
    | 'imageInfo'
  >
}

export const relocateImage = operation<RelocateImageInput, RelocateImagePorts>('image.relocate', {
  version: 1,
})
  .holds(partKeys)

  .step('reserveTarget', {
    do: async ({ op, input, ports, now }) => {
      const source = await movableSource(ports, input)
      if (input.kept !== null) {
        // Its row may have outlived its file: a removal that was cut off, an aggregate that was made anew.
        const kept = await ports.copies.find(input.targetImageId)
        if (kept === undefined || (await ports.backend.imageInfo(kept)) === undefined) {
          throw final('The image that was kept is gone: it has to be copied.')
        }
        if (!(await ports.copies.takeBack(input.targetImageId, op.id, now().toISOString()))) {
          throw final('The image that was kept is gone: it has to be copied.')
        }
        if (input.snapshotId === null) {
          await ports.backend.ensureReadOnly(callerOf(op), await ports.copies.get(input.targetImageId), false)
        }
        return null
      }
      await ports.copies.create({
        imageId: input.targetImageId,
        volumeId: input.volumeId,
        snapshotId: input.snapshotId,
        flexvolId: input.flexvolId,
        ...input.to,
        sizeBytes: source.sizeBytes,
        state: 'target',
        operationId: op.id,
        // The move as a whole holds back what it has still to copy.
        reservedBytes: 0,
        retainedUntil: null,
        createdAt: now().toISOString(),
      })
      return null
    },
    undo: async ({ op, input, ports }) => {
      ports.copying.delete(op.id)
      ports.pace.end(op.id)
      if (input.kept === null) return ports.copies.remove(input.targetImageId)
      const kept = await ports.copies.find(input.targetImageId)
      if (kept?.state !== 'target' || kept.operationId !== op.id) return
      if (input.snapshotId === null) await ports.backend.ensureReadOnly(callerOf(op), kept, true)
      await ports.copies.keepAgain(kept.imageId, op.id)
    },
    retry: throughRestart,
  })

  .step('copyImage', {
    do: async ({ op, input, ports }) => {
      if (input.kept === null) await startCopy(ports, op, input)
      return null
    },
    undo: async ({ op, input, ports }) => {
      if (input.kept !== null) return
      const pair = await pairOf(ports, input)
      if (pair === undefined) return
      await ports.backend.ensureNoCopy(callerOf(op), pair)
      await ports.backend.ensureNoImage(callerOf(op), pair.to)
    },
    skipUndo: 'what was copied stays behind on the target as a stray, which nothing uses',
    retry: throughRestart,
  })

  .wait('copied', {
    every: '100ms',
    stallTimeout: '15m',
    until: async ({ op, input, ports }) => {
      if (input.kept !== null) return { done: true, advance: null }
      const to = await ports.copies.get(input.targetImageId)
      const from = await ports.copies.get(input.sourceImageId)
      return lookAtImageCopy(ports, op, { to, from }, () => startCopy(ports, op, input))
    },
    retry: throughRestart,
  })

  .commit('flip', {
    do: async ({ op, input, ports }) => {
      const change = {
        fromImageId: input.sourceImageId,
        toImageId: input.targetImageId,
        operationId: op.id,
        fence: op.fence,
        retainedUntil: keptForTheMove,
      }
      const { volumeId, snapshotId } = input
      if (snapshotId === null) await ports.copies.changeTruth({ volumeId, ...change })
      else await ports.copies.changeSnapshotTruth({ snapshotId, ...change })
      return null
    },
    happened: async ({ input, ports }) => (await truthOf(ports, input)) === input.targetImageId,
    attempts: 5,
    backoff: { first: '250ms', longest: '5s' },
  })

  // The key is still held: nobody has opened either image yet.
  .step('settle', {
    do: async ({ op, input, ports }) => {
      ports.copying.delete(op.id)
      ports.pace.end(op.id)
      const from = await ports.copies.find(input.sourceImageId)
      const to = await ports.copies.get(input.targetImageId)
      if (from !== undefined) {
        if (input.kept === null) await ports.backend.ensureNoCopy(callerOf(op), { to, from })
        await ports.backend.ensureReadOnly(callerOf(op), from, true)
      }
      // A snapshot's image is written to by nobody, wherever it is.
      if (input.snapshotId !== null) await ports.backend.ensureReadOnly(callerOf(op), to, true)
      const info = await ports.backend.imageInfo(to)
      const copied = input.base === null && input.kept === null
      // What it shares, or what was there, was not copied: then the copy's own figures stand.
      return { movedBytes: copied ? (info?.allocatedBytes ?? 0) : null, mark: info?.changeMark ?? null }
    },
  })

/** The source where it is still what the part was started for. Otherwise the part ends, and the move looks again. */
async function movableSource(ports: RelocateImagePorts, input: RelocateImageInput): Promise<Copy> {
  const source = await ports.copies.find(input.sourceImageId)
  if (source === undefined || (await truthOf(ports, input)) !== input.sourceImageId) {
    throw final('It has changed since: its image is another one, or is gone.')
  }
  if (input.base !== null) {
    for (const imageId of [input.base.fromImageId, input.base.toImageId]) {
      if ((await ports.copies.find(imageId)) === undefined) {
        throw final(`The snapshot ${input.base.snapshotId}, with which it shares blocks, is gone.`)
      }
    }
  }
  if (input.snapshotId !== null) return source
  const attachments = await ports.attachments.ofVolume(input.volumeId)
  if (attachments.some(({ host }) => host !== null)) {
    throw final('It has been attached since: its head moves it.')
  }
  const { kept } = input
  if (kept !== null && (await ports.backend.imageInfo(source))?.changeMark !== kept.mark) {
    throw final('It was written to since it moved: it has to be copied.')
  }
  return source
}

async function truthOf(
  ports: RelocateImagePorts,
  { volumeId, snapshotId }: RelocateImageInput,
): Promise<string | null | undefined> {
  const owner =
    snapshotId === null ? await ports.volumes.find(volumeId) : await ports.snapshots.find(snapshotId)
  return owner?.imageId
}

type Op = { id: string; fence: number; control: CopyToPace['control'] }

async function pairOf(
  ports: RelocateImagePorts,
  input: RelocateImageInput,
): Promise<{ to: Copy; from: Copy } | undefined> {
  const to = await ports.copies.find(input.targetImageId)
  const from = await ports.copies.find(input.sourceImageId)
  return to === undefined || from === undefined ? undefined : { to, from }
}

async function startCopy(ports: RelocateImagePorts, op: Op, input: RelocateImageInput): Promise<void> {
  const { base } = input
  const pair = {
    to: await ports.copies.get(input.targetImageId),
    from: await ports.copies.get(input.sourceImageId),
  }
  await ports.backend.ensureCopy(callerOf(op), {
    ...pair,
    ...(base !== null && {
      base: { from: await ports.copies.get(base.fromImageId), to: await ports.copies.get(base.toImageId) },
    }),
    rate: await ports.pace.begin({ id: op.id, control: op.control, ...pair, volumeId: null }),
  })
}
