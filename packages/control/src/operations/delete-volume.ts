import { operation } from '@volant/saga'
import { messageEvents } from '../domain/volume-message.ts'
import type { Copy } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { CopyRecords, SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'
import { clearFailure, noteFailure, type FailureNotes } from './failure-note.ts'

export interface DeleteVolumeInput {
  /** Its status is `deleting`. */
  volumeId: string
  projectId: string
  requestId: string
  /** Those that go with it; their status is `deleting`. Absent: none. */
  snapshotIds?: string[]
}

export interface DeleteVolumePorts extends FailureNotes {
  volumes: Pick<VolumeRecords, 'updateIf' | 'remove'>
  copies: Pick<CopyRecords, 'ofVolume' | 'ofSnapshot' | 'remove'>
  snapshots: Pick<SnapshotRecords, 'updateIf' | 'remove'>
  backend: Pick<Backend, 'ensureNoImage'>
}

/**
 * Removes a volume's images, the retained ones too, and then its record; those of its snapshots first, if they go with it.
 * An image in use is not removed.
 */
export const deleteVolume = operation<DeleteVolumeInput, DeleteVolumePorts>('volume.delete', { version: 1 })
  .holds(({ volumeId, snapshotIds = [] }) => [
    `volume/${volumeId}`,
    ...snapshotIds.map((id) => `snapshot/${id}`),
  ])

  // The request has set `deleting`. A part of the images may be gone when it fails: there is no way back to
  // `available`, but the deletion can be asked for again.
  .step('claimVolume', {
    do: () => null,
    undo: async ({ input, ports }) => {
      await ports.volumes.updateIf(input.volumeId, { status: ['deleting'] }, { status: 'error_deleting' })
      for (const id of input.snapshotIds ?? []) {
        await ports.snapshots.updateIf(id, { status: ['deleting'] }, { status: 'error_deleting' })
      }
    },
  })

  .commit('removeImages', {
    do: async ({ op, input, ports, now }) =>
      noteFailure(ports, op, input, messageEvents.deleteFailed, now(), async () => {
        for (const copy of await copiesOf(ports, input)) {
          await ports.backend.ensureNoImage(callerOf(op), copy)
          await ports.copies.remove(copy.imageId)
        }
        return null
      }),
    happened: async ({ input, ports }) => (await copiesOf(ports, input)).length === 0,
    backoff: '1s',
  })

  .step('removeRecord', {
    do: async ({ op, input, ports }) => {
      for (const id of input.snapshotIds ?? []) await ports.snapshots.remove(id)
      await ports.volumes.remove(input.volumeId)
      await clearFailure(ports, op)
      return null
    },
  })

/** Those of the snapshots first: a volume without its snapshots can be used, snapshots without a volume cannot. */
async function copiesOf(ports: DeleteVolumePorts, input: DeleteVolumeInput): Promise<Copy[]> {
  const ofSnapshots = await Promise.all((input.snapshotIds ?? []).map((id) => ports.copies.ofSnapshot(id)))
  return [...ofSnapshots.flat(), ...(await ports.copies.ofVolume(input.volumeId))]
}
