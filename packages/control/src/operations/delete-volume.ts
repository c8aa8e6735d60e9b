import { operation } from '@volant/saga'
import { messageEvents } from '../domain/volume-message.ts'
import type { Backend } from '../ports/backend.ts'
import type { CopyRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { clearFailure, noteFailure, type FailureNotes } from './failure-note.ts'

export interface DeleteVolumeInput {
  /** Its status is `deleting`. */
  volumeId: string
  projectId: string
  requestId: string
}

export interface DeleteVolumePorts extends FailureNotes {
  volumes: Pick<VolumeRecords, 'updateIf' | 'remove'>
  copies: Pick<CopyRecords, 'ofVolume' | 'remove'>
  backend: Pick<Backend, 'ensureNoImage'>
}

/** Removes a volume's images, the retained ones too, and then its record. An image in use is not removed. */
export const deleteVolume = operation<DeleteVolumeInput, DeleteVolumePorts>('volume.delete', { version: 1 })
  .holds((input) => [`volume/${input.volumeId}`])

  // The request has set `deleting`. A part of the images may be gone when it fails: there is no way back to
  // `available`, but the deletion can be asked for again.
  .step('claimVolume', {
    do: () => null,
    undo: async ({ input, ports }) => {
      await ports.volumes.updateIf(input.volumeId, { status: ['deleting'] }, { status: 'error_deleting' })
    },
  })

  .commit('removeImages', {
    do: async ({ op, input, ports, now }) =>
      noteFailure(ports, op, input, messageEvents.deleteFailed, now(), async () => {
        for (const copy of await ports.copies.ofVolume(input.volumeId)) {
          await ports.backend.ensureNoImage(callerOf(op), copy)
          await ports.copies.remove(copy.imageId)
        }
        return null
      }),
    happened: async ({ input, ports }) => (await ports.copies.ofVolume(input.volumeId)).length === 0,
    backoff: '1s',
  })

  .step('removeRecord', {
    do: async ({ op, input, ports }) => {
      await ports.volumes.remove(input.volumeId)
      await clearFailure(ports, op)
      return null
    },
  })
