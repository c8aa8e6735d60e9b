import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import { isHidden, type Volume } from '../domain/volume.ts'
import type { VolumeRecords } from '../ports/records.ts'

/** The volume, if the principal may know of it: another project's is `notFound`, and so is a hidden one. */
export async function visibleVolume(
  volumes: Pick<VolumeRecords, 'find'>,
  principal: Principal,
  volumeId: string,
): Promise<Volume> {
  const volume = await volumes.find(volumeId)
  const mayKnow = isAdmin(principal) || volume?.projectId === principal.projectId
  if (volume === undefined || isHidden(volume) || !mayKnow) {
    throw new DomainError('notFound', `Volume ${volumeId} could not be found.`)
  }
  return volume
}

/** The volume, if the principal may also change it. */
export async function changeableVolume(
  volumes: Pick<VolumeRecords, 'find'>,
  principal: Principal,
  volumeId: string,
  policy: string,
): Promise<Volume> {
  const volume = await visibleVolume(volumes, principal, volumeId)
  enforce(principal, policy, 'member', volume.projectId)
  return volume
}

/** The volume, for what only an administrator may do. */
export async function administeredVolume(
  volumes: Pick<VolumeRecords, 'find'>,
  principal: Principal,
  volumeId: string,
  policy: string,
): Promise<Volume> {
  const volume = await visibleVolume(volumes, principal, volumeId)
  enforce(principal, policy, 'admin')
  return volume
}

/** Throws `invalid` for a token without a project, which owns nothing. */
export function projectOf(principal: Principal): string {
  if (principal.projectId === null) {
    throw new DomainError('invalid', 'The token is not scoped to a project. Ask for one that is.')
  }
  return principal.projectId
}

/** Cinder's wording of a volume in no state for what is asked. */
export const invalidVolume = (reason: string): DomainError =>
  new DomainError('invalid', `Invalid volume: ${reason}`)

export const invalidInput = (reason: string): DomainError =>
  new DomainError('invalid', `Invalid input received: ${reason}`)

/** What Cinder has and Volant has not: wrong to ask for, as Cinder says it of what a backend lacks. */
export const notSupported = (message: string): DomainError => new DomainError('invalid', message)

/** A volume with one of these migration statuses is being moved. */
export const isMigrating = (volume: Volume): boolean =>
  volume.migrationStatus === 'starting' ||
  volume.migrationStatus === 'migrating' ||
  volume.migrationStatus === 'completing'

/** For `updateIf`: no migration is under way. */
export const notMigrating = [null, 'success', 'error'] as const
