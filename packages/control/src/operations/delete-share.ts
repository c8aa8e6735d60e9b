import { DomainError } from '@volant/contract'
import { nothingToUndo, operation } from '@volant/saga'
import { isAt } from '../domain/move-order.ts'
import { shareMessageEvents } from '../domain/share-message.ts'
import type { AggregatePlace, FlexVol } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { CopyRecords, FlexVolRecords, SnapshotRecords } from '../ports/records.ts'
import type { ShareGround, ShareRecords } from '../ports/shares.ts'
import { callerOf } from './caller.ts'
import { unlessGone } from './create-flexvol.ts'
import { throughRestart } from './patience.ts'
import { clearShareFailure, noteShareFailure, type ShareFailureNotes } from './share-failure.ts'
import {
  ensureNoShareFileSystem,
  ensureNoShareHead,
  ensureNotExported,
  type ShareServicePorts,
} from './share-service.ts'

export interface DeleteShareInput {
  /** Its status is `deleting`; it has no snapshots. */
  shareId: string
  /** The share's; null: it was never placed. Nobody moves it, or works on its volume, meanwhile. */
  volumeId: string | null
  flexvolId: string | null
  projectId: string
  requestId: string
}

export interface DeleteSharePorts extends ShareServicePorts, ShareFailureNotes {
  shares: Pick<ShareRecords, 'find' | 'get' | 'updateIf' | 'remove'>
  ground: Pick<ShareGround, 'clear'>
  copies: ShareServicePorts['copies'] & Pick<CopyRecords, 'ofFlexVol' | 'remove'>
  flexvols: Pick<FlexVolRecords, 'find'>
  snapshots: Pick<SnapshotRecords, 'ofVolume'>
  backend: ShareServicePorts['backend'] & Pick<Backend, 'ensureNoImage' | 'ensureNoFlexVolAt'>
}

const failed = shareMessageEvents.deleteFailed

/** Takes a share from its clients, and removes it from above: export, file system, head, images, FlexVol, rows. */
export const deleteShare = operation<DeleteShareInput, DeleteSharePorts>('share.delete', { version: 1 })
  .holds(({ shareId, volumeId, flexvolId }) => [
    `share/${shareId}`,
    ...(volumeId === null ? [] : [`volume/${volumeId}`]),
    ...(flexvolId === null ? [] : [`flexvol/${flexvolId}`]),
  ])

  // The request has set `deleting`. Clients may have lost it when it fails: there is no way back to `available`, but the
  // deletion can be asked for again.
  .step('claimShare', {
    do: async ({ op, input, ports, now }) =>
      noteShareFailure(ports, op, input, failed, now(), async () => {
        if (input.volumeId !== null) {
          const { length } = await ports.snapshots.ofVolume(input.volumeId)
          if (length > 0) throw new DomainError('conflict', `The share has ${length} snapshot(s).`)
        }
        return { places: await placesOf(ports, input) }
      }),
    undo: async ({ input, ports }) => {
      await ports.shares.updateIf(input.shareId, { status: ['deleting'] }, { status: 'error_deleting' })
    },
  })

  .step('endExport', {
    do: async ({ op, input, ports, now }) =>
      noteShareFailure(ports, op, input, failed, now(), async () => {
        const end = () => ensureNotExported(ports, callerOf(op), input.shareId, { forGood: true })
        await ports.serving.take(input.shareId, end)
        return null
      }),
    undo: nothingToUndo,
    retry: throughRestart,
  })

  .step('removeFileSystem', {
    do: async ({ op, input, ports, now }) =>
      noteShareFailure(ports, op, input, failed, now(), async () => {
        await ensureNoShareFileSystem(ports, callerOf(op), input.shareId)
        return null
      }),
    undo: nothingToUndo,
    retry: throughRestart,
  })

  .step('closeHead', {
    do: async ({ op, input, ports, now }) =>
      noteShareFailure(ports, op, input, failed, now(), async () => {
        await ensureNoShareHead(ports, callerOf(op), input.shareId)
        return null
      }),
    undo: nothingToUndo,
    retry: throughRestart,
  })

  .commit('removeImages', {
    do: async ({ op, input, ports, now }) =>
      noteShareFailure(ports, op, input, failed, now(), async () => {
        for (const copy of await imagesOf(ports, input)) {
          await ports.backend.ensureNoImage(callerOf(op), copy)
          await ports.copies.remove(copy.imageId)
        }
        return null
      }),
    happened: async ({ input, ports }) => (await imagesOf(ports, input)).length === 0,
    ...throughRestart,
  })

  .step('removeFolders', {
    skip: 'an empty folder stays behind on the aggregate, which keeps the aggregate from being deleted',
    do: async ({ op, input, out, ports }) => {
      const flexvol = await flexvolOf(ports, input)
      if (flexvol === undefined) return null
      for (const place of out.claimShare.places) {
        await ports.backend.ensureNoFlexVolAt(callerOf(op), flexvol, place).catch(unlessGone)
      }
      return null
    },
  })

  .step('removeRecords', {
    do: async ({ op, input, ports }) => {
      await ports.ground.clear(input.shareId)
      await ports.shares.remove(input.shareId)
      await clearShareFailure(ports, op)
      return null
    },
  })

const flexvolOf = async (
  { flexvols }: DeleteSharePorts,
  { flexvolId }: DeleteShareInput,
): Promise<FlexVol | undefined> => (flexvolId === null ? undefined : flexvols.find(flexvolId))

/** The retained ones too. */
const imagesOf = async ({ copies }: DeleteSharePorts, { flexvolId }: DeleteShareInput) =>
  flexvolId === null ? [] : copies.ofFlexVol(flexvolId)

/** Where the FlexVol has a folder. */
async function placesOf(ports: DeleteSharePorts, input: DeleteShareInput): Promise<AggregatePlace[]> {
  const flexvol = await flexvolOf(ports, input)
  if (flexvol === undefined) return []
  const places: AggregatePlace[] = []
  const all = [flexvol, ...(flexvol.destination === null ? [] : [flexvol.destination])]
  for (const { node, aggregate } of [...all, ...(await imagesOf(ports, input))]) {
    const place = { node, aggregate }
    if (!places.some((one) => isAt(one, place))) places.push(place)
  }
  return places
}
