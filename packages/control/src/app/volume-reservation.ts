import { randomUUID } from 'node:crypto'
import type { Principal } from '../domain/principal.ts'
import type { Attachment, Volume } from '../domain/volume.ts'
import { detachVolume } from '../operations/detach-volume.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { AttachmentRecords, VolumeRecords } from '../ports/records.ts'
import { administeredVolume, changeableVolume, invalidVolume, notMigrating } from './volume-access.ts'

/**
 * The older actions by which a compute service claims a volume. They keep the record alone: the data path is
 * made by Volant's own compute service, and an attachment made here has no host, so no head stands for it.
 */
export interface VolumeReservations {
  reserve(principal: Principal, volumeId: string): Promise<void>
  unreserve(principal: Principal, volumeId: string): Promise<void>
  beginDetaching(principal: Principal, volumeId: string): Promise<void>
  rollDetaching(principal: Principal, volumeId: string): Promise<void>
  attach(principal: Principal, volumeId: string, request: AttachRequest): Promise<void>
  detach(principal: Principal, volumeId: string, attachmentId: string | null): Promise<void>
  /** The administrator's: of a volume in `error` too, and of one that a server has. */
  forceDetach(principal: Principal, volumeId: string, attachmentId: string | null): Promise<void>
  /** What a connector needs; see `connectionOf`. */
  initializeConnection(
    principal: Principal,
    volumeId: string,
    connector: Record<string, unknown>,
  ): Promise<Record<string, unknown>>
  terminateConnection(principal: Principal, volumeId: string): Promise<void>
}

export interface AttachRequest {
  serverId: string | null
  hostName: string | null
  mountpoint: string
  mode: 'rw' | 'ro'
}

export interface ReservationSources {
  volumes: VolumeRecords
  attachments: AttachmentRecords
  engine: OperationEngine
  clock: Clock
}

const actions = 'volume_extension:volume_actions'

export function createVolumeReservations(sources: ReservationSources): VolumeReservations {
  const { volumes } = sources
  const change = async (
    principal: Principal,
    volumeId: string,
    action: string,
    from: Volume['status'],
    to: Volume['status'],
  ): Promise<Volume> => {
    const volume = await changeableVolume(volumes, principal, volumeId, `${actions}:${action}`)
    const migrationStatus = from === 'available' ? { migrationStatus: notMigrating } : {}
    if (!(await volumes.updateIf(volumeId, { status: [from], ...migrationStatus }, { status: to }))) {
      throw invalidVolume(
        `Volume ${volumeId} status must be ${from}, but current status is: ${volume.status}.`,
      )
    }
    return volume
  }
  return {
    async reserve(principal, volumeId) {
      await change(principal, volumeId, 'reserve', 'available', 'attaching')
    },
    async unreserve(principal, volumeId) {
      const volume = await changeableVolume(volumes, principal, volumeId, `${actions}:unreserve`)
      await requireNoServer(sources, volume)
      // Cinder ignores the call for a volume that is not being attached.
      await volumes.updateIf(volumeId, { status: ['attaching'] }, { status: 'available' })
    },
    async beginDetaching(principal, volumeId) {
      await change(principal, volumeId, 'begin_detaching', 'in-use', 'detaching')
    },
    async rollDetaching(principal, volumeId) {
      await changeableVolume(volumes, principal, volumeId, `${actions}:roll_detaching`)
      await volumes.updateIf(volumeId, { status: ['detaching'] }, { status: 'in-use' })
    },
    attach: (principal, volumeId, request) => attach(sources, principal, volumeId, request),
    async detach(principal, volumeId, attachmentId) {
      const volume = await changeableVolume(volumes, principal, volumeId, `${actions}:detach`)
      await requireNoServer(sources, volume)
      await detach(sources, volume, attachmentId)
    },
    forceDetach: (principal, volumeId, attachmentId) =>
      forceDetach(sources, principal, volumeId, attachmentId),
    async initializeConnection(principal, volumeId) {
      const volume = await changeableVolume(volumes, principal, volumeId, `${actions}:initialize_connection`)
      return connectionOf(volume, null)
    },
    async terminateConnection(principal, volumeId) {
      await changeableVolume(volumes, principal, volumeId, `${actions}:terminate_connection`)
    },
  }
}

/**
 * Only a volume head may open a volume, and Volant's compute service starts it: a connector is told so, and gets
 * no path to the bytes.
 */
export const connectionOf = (volume: Volume, attachmentId: string | null): Record<string, unknown> => ({
  driver_volume_type: 'volant',
  data: {
    volume_id: volume.id,
    ...(attachmentId !== null && { attachment_id: attachmentId }),
    access_mode: volume.metadata['readonly'] === 'True' ? 'ro' : 'rw',
    encrypted: false,
    discard: true,
  },
})

async function requireNoServer({ attachments }: ReservationSources, volume: Volume): Promise<void> {
  const held = (await attachments.ofVolume(volume.id)).find((a) => a.host !== null)
  if (held === undefined) return
  throw invalidVolume(
    `Volume ${volume.id} is attached to server ${String(held.serverId)} by the compute service: detach it there.`,
  )
}

async function attach(
  sources: ReservationSources,
  principal: Principal,
  volumeId: string,
  request: AttachRequest,
): Promise<void> {
  const { volumes, attachments, clock } = sources
  const volume = await changeableVolume(volumes, principal, volumeId, `${actions}:attach`)
  if (request.mode === 'rw' && volume.metadata['readonly'] === 'True') {
    throw invalidVolume(`Volume ${volumeId} is read-only and cannot be attached with mode rw.`)
  }
  await requireNoServer(sources, volume)
  const claimed = await volumes.updateIf(
    volumeId,
    { status: ['available', 'attaching', 'reserved'], migrationStatus: notMigrating },
    { status: 'in-use' },
  )
  if (!claimed) {
    throw invalidVolume(
      `Volume ${volumeId} status must be available or attaching, but current status is: ${volume.status}.`,
    )
  }
  const id = randomUUID()
  await attachments.create({
    id,
    headId: id,
    volumeId,
    serverId: request.serverId,
    projectId: volume.projectId,
    host: null,
    status: 'attached',
    shareId: null,
    rootOf: null,
    attachMode: request.mode,
    mountpoint: request.mountpoint,
    bootIndex: null,
    deleteOnTermination: false,
    connector: request.hostName === null ? null : { host: request.hostName },
    attachedAt: clock.now().toISOString(),
    createdAt: clock.now().toISOString(),
  })
}

async function forceDetach(
  sources: ReservationSources,
  principal: Principal,
  volumeId: string,
  attachmentId: string | null,
): Promise<void> {
  const { volumes, attachments, engine } = sources
  const policy = 'volume_extension:volume_admin_actions:force_detach'
  const volume = await administeredVolume(volumes, principal, volumeId, policy)
  const found = await attachments.ofVolume(volumeId)
  const held = found.find((a) => a.host !== null && (attachmentId === null || a.id === attachmentId))
  if (held === undefined || held.serverId === null) {
    await detach(sources, volume, attachmentId)
    return
  }
  const claimed = await volumes.updateIf(
    volumeId,
    { status: ['in-use', 'error'], migrationStatus: notMigrating },
    { status: 'detaching' },
  )
  if (!claimed) throw invalidVolume(`Volume ${volumeId} must be in-use or error, and not migrating.`)
  await attachments.update(held.id, { status: 'detaching' })
  try {
    await engine.start(detachVolume, { attachmentId: held.id, volumeId, serverId: held.serverId })
  } catch (error) {
    await attachments.update(held.id, { status: held.status })
    await volumes.updateIf(volumeId, { status: ['detaching'] }, { status: volume.status })
    throw error
  }
}

/** Ends attachments that have no host: there is only their record. */
async function detach(
  { volumes, attachments }: ReservationSources,
  volume: Volume,
  attachmentId: string | null,
): Promise<void> {
  const volumeId = volume.id
  const found = await attachments.ofVolume(volumeId)
  const chosen: Attachment[] = attachmentId === null ? found : found.filter((a) => a.id === attachmentId)
  // Without a named attachment there is nothing wrong with there being none: Cinder accepts it too.
  if (chosen.length === 0 && attachmentId !== null) {
    throw invalidVolume(`Volume ${volumeId} has no attachment ${attachmentId}.`)
  }
  for (const attachment of chosen) await attachments.remove(attachment.id)
  if (chosen.length === found.length) {
    const { imageId } = volume
    const attachedOrBroken = ['in-use', 'detaching', ...(imageId === null ? [] : ['error' as const])] as const
    await volumes.updateIf(volumeId, { status: attachedOrBroken }, { status: 'available' })
  }
}
