import { isDomainError } from '@volant/contract'
import { deleteVolume } from '../operations/delete-volume.ts'
import type { VolumeStatus } from '../domain/volume.ts'
import type { DeletionClaims } from '../ports/block-storage.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { VolumeRecords } from '../ports/records.ts'
import type { VolumeRemover } from '../ports/volumes.ts'

const removable: readonly VolumeStatus[] = ['available', 'error', 'error_deleting', 'error_extending']

/** Deletes volumes on behalf of the system: those that a server was told to take with it. */
export function createVolumeRemover(options: {
  volumes: Pick<VolumeRecords, 'find'>
  deletionClaims: DeletionClaims
  engine: Pick<OperationEngine, 'start' | 'cancel' | 'holderOf' | 'settled'>
}): VolumeRemover {
  const { volumes, deletionClaims, engine } = options

  /** One that is still being created is given up first. */
  async function endCreation(volumeId: string): Promise<void> {
    const holder = await engine.holderOf(`volume/${volumeId}`)
    if (holder?.kind !== 'volume.create') return
    try {
      await engine.cancel(holder.id)
    } catch (error) {
      if (!isDomainError(error) || error.code !== 'conflict') throw error
    }
    await engine.settled(holder.id)
  }

  return {
    async removeVolume(volumeId) {
      await endCreation(volumeId)
      const volume = await volumes.find(volumeId)
      if (volume === undefined) return
      // One with snapshots stays, as it does where Nova asks Cinder.
      if (!removable.includes(volume.status)) return
      const claim = await deletionClaims.claim(volume, { cascade: false })
      if (claim.outcome !== 'claimed') return
      try {
        await engine.start(deleteVolume, {
          volumeId,
          projectId: volume.projectId,
          requestId: `req-${crypto.randomUUID()}`,
        })
      } catch (error) {
        await deletionClaims.release(volume, [])
        throw error
      }
    },
  }
}
