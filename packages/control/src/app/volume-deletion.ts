import { DomainError } from '@volant/contract'
import { isInTheWay } from '../domain/giving-way.ts'
import type { Principal } from '../domain/principal.ts'
import type { Volume, VolumeStatus } from '../domain/volume.ts'
import { deleteVolume } from '../operations/delete-volume.ts'
import type { DeletionClaims } from '../ports/block-storage.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords, VolumeRecords } from '../ports/records.ts'
import { administeredVolume, changeableVolume, invalidVolume, isMigrating } from './volume-access.ts'

export interface VolumeDeletions {
  /** `force` is the administrator's, and takes a volume of any status that nobody has attached. */
  remove(
    principal: Principal,
    volumeId: string,
    options: {
      force: boolean
      /** With its snapshots, which else refuse it. */
      cascade: boolean
      requestId: string
    },
  ): Promise<void>
}

export interface VolumeDeletionSources {
  deletionClaims: DeletionClaims
  volumes: VolumeRecords
  attachments: Pick<AttachmentRecords, 'ofVolume'>
  engine: OperationEngine
}

const deletable: readonly VolumeStatus[] = ['available', 'error', 'error_deleting', 'error_extending']

export const createVolumeDeletions = (sources: VolumeDeletionSources): VolumeDeletions => ({
  async remove(principal, volumeId, { force, cascade, requestId }) {
    const { volumes, attachments, engine } = sources
    const volume = force
      ? await administeredVolume(
          volumes,
          principal,
          volumeId,
          'volume_extension:volume_admin_actions:force_delete',
        )
      : await changeableVolume(volumes, principal, volumeId, 'volume:delete')
    if (await isAttached(attachments, volume)) {
      throw invalidVolume(`Volume ${volumeId} is still attached, detach volume first.`)
    }
    if (isMigrating(volume) || (!force && !deletable.includes(volume.status))) throw notDeletable(volume)
    const holder = await engine.holderOf(`volume/${volumeId}`)
    if (isInTheWay(holder)) {
      throw invalidVolume(
        `Volume ${volumeId} cannot be deleted while operation ${holder.id} (${holder.kind}) is working on it.`,
      )
    }
    const snapshots = await claim(sources, volume, cascade)
    const snapshotIds = snapshots.map(({ id }) => id)
    try {
      await engine.start(deleteVolume, { volumeId, projectId: volume.projectId, requestId, snapshotIds })
    } catch (error) {
      await sources.deletionClaims.release(volume, snapshots)
      throw error
    }
  },
})

async function claim({ deletionClaims }: VolumeDeletionSources, volume: Volume, cascade: boolean) {
  const claimed = await deletionClaims.claim(volume, { cascade })
  switch (claimed.outcome) {
    case 'claimed':
      return claimed.snapshots
    case 'has-snapshots':
      throw invalidVolume(
        `${mustBe} It has ${claimed.count === 1 ? '1 snapshot: delete it' : `${claimed.count} snapshots: delete them`} ` +
          'first, or with it (cascade=true).',
      )
    case 'snapshot-busy':
      throw invalidVolume(
        `Volume ${volume.id} cannot be deleted with its snapshots, which must be available or in error: of snapshot ` +
          `${claimed.snapshotId}, ${claimed.reason}.`,
      )
    case 'changed':
      throw notDeletable(volume)
  }
}

/** In `error` the record of an attachment that has no host is no more than a leftover. */
async function isAttached(
  attachments: Pick<AttachmentRecords, 'ofVolume'>,
  volume: Volume,
): Promise<boolean> {
  const found = await attachments.ofVolume(volume.id)
  const broken = volume.status === 'error' || volume.status === 'error_deleting'
  return found.some((a) => a.host !== null || !broken)
}

const mustBe =
  'Volume status must be available or error or error_restoring or error_extending or error_managing and must ' +
  'not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, or be disassociated ' +
  'from snapshots after volume transfer.'

const notDeletable = (volume: Volume): DomainError =>
  invalidVolume(
    `${mustBe} It is ${volume.status}` +
      (isMigrating(volume) ? `, and migrating (${String(volume.migrationStatus)}).` : '.'),
  )
