import { randomUUID } from 'node:crypto'
import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import { isHidden, type Attachment } from '../domain/volume.ts'
import type { AttachmentPageRequest, VolumeLists } from '../ports/block-storage.ts'
import type { Clock } from '../ports/clock.ts'
import type { AttachmentRecords, VolumeRecords } from '../ports/records.ts'
import { changeableVolume, invalidVolume, notMigrating } from './volume-access.ts'
import { connectionOf } from './volume-reservation.ts'

/**
 * The attachments API. As with the older actions, attachments made by it are records without a data path; those
 * that the compute service made are shown by it and are the compute service's to end.
 */
export interface Attachments {
  create(principal: Principal, request: NewAttachment): Promise<AttachmentFacts>
  show(principal: Principal, attachmentId: string): Promise<AttachmentFacts>
  list(
    principal: Principal,
    request: AttachmentPageRequest,
  ): Promise<{ attachments: Attachment[]; hasMore: boolean }>
  /** Gives it its connector. */
  update(
    principal: Principal,
    attachmentId: string,
    connector: Record<string, unknown>,
    mode: 'rw' | 'ro' | null,
  ): Promise<AttachmentFacts>
  /** The caller is connected. */
  complete(principal: Principal, attachmentId: string): Promise<void>
  /** What is left of the volume's attachments. */
  remove(principal: Principal, attachmentId: string): Promise<Attachment[]>
}

export interface NewAttachment {
  volumeId: string
  serverId: string | null
  connector: Record<string, unknown> | null
  mode: 'rw' | 'ro'
}

export interface AttachmentFacts {
  attachment: Attachment
  /** Empty until there is a connector. */
  connection: Record<string, unknown>
}

export interface AttachmentSources {
  volumes: VolumeRecords
  attachments: AttachmentRecords
  lists: Pick<VolumeLists, 'attachmentPage'>
  clock: Clock
}

export function createAttachments(sources: AttachmentSources): Attachments {
  const { volumes, attachments } = sources
  const factsOf = async (attachment: Attachment): Promise<AttachmentFacts> => ({
    attachment,
    connection:
      attachment.connector === null
        ? {}
        : connectionOf(await volumes.get(attachment.volumeId), attachment.id),
  })
  return {
    create: async (principal, request) => factsOf(await create(sources, principal, request)),
    show: async (principal, id) => factsOf(await visible(sources, principal, id)),
    async list(principal, request) {
      enforce(principal, 'volume:attachment_get_all', 'reader')
      const found = await sources.lists.attachmentPage(request)
      return { attachments: found.slice(0, request.limit), hasMore: found.length > request.limit }
    },
    async update(principal, id, connector, mode) {
      const attachment = await changeable(sources, principal, id, 'volume:attachment_update')
      await attachments.update(id, {
        connector,
        status: attachment.status === 'attached' ? 'attached' : 'attaching',
        ...(mode !== null && { attachMode: mode }),
      })
      await volumes.updateIf(attachment.volumeId, { status: ['reserved'] }, { status: 'attaching' })
      return factsOf(await attachments.get(id))
    },
    complete: (principal, id) => complete(sources, principal, id),
    remove: (principal, id) => remove(sources, principal, id),
  }
}

async function visible(
  { attachments }: AttachmentSources,
  principal: Principal,
  attachmentId: string,
): Promise<Attachment> {
  const attachment = await attachments.find(attachmentId)
  const mayKnow = isAdmin(principal) || attachment?.projectId === principal.projectId
  if (attachment === undefined || isHidden(attachment) || !mayKnow) {
    throw new DomainError(
      'notFound',
      `Volume attachment could not be found with filter: attachment_id = ${attachmentId}.`,
    )
  }
  return attachment
}

/** One that no server of Volant's own stands behind. */
async function changeable(
  sources: AttachmentSources,
  principal: Principal,
  attachmentId: string,
  policy: string,
): Promise<Attachment> {
  const attachment = await visible(sources, principal, attachmentId)
  enforce(principal, policy, 'member', attachment.projectId)
  if (attachment.host !== null) {
    throw new DomainError(
      'conflict',
      `Attachment ${attachmentId} belongs to server ${String(attachment.serverId)} of the compute service: ` +
        `change it there (nova volume-detach).`,
    )
  }
  return attachment
}

async function complete(sources: AttachmentSources, principal: Principal, id: string): Promise<void> {
  const { volumes, attachments, clock } = sources
  const attachment = await changeable(sources, principal, id, 'volume:attachment_complete')
  if (attachment.status === 'attached') return
  const done = await volumes.updateIf(
    attachment.volumeId,
    { status: ['reserved', 'attaching'] },
    { status: 'in-use' },
  )
  if (!done) throw invalidVolume(`Volume ${attachment.volumeId} must be reserved or attaching.`)
  await attachments.update(id, { status: 'attached', attachedAt: clock.now().toISOString() })
}

async function remove(sources: AttachmentSources, principal: Principal, id: string): Promise<Attachment[]> {
  const { volumes, attachments } = sources
  const attachment = await changeable(sources, principal, id, 'volume:attachment_delete')
  await attachments.remove(id)
  const left = await attachments.ofVolume(attachment.volumeId)
  if (left.length === 0) {
    await volumes.updateIf(
      attachment.volumeId,
      { status: ['reserved', 'attaching', 'in-use', 'detaching'] },
      { status: 'available' },
    )
  }
  return left
}

async function create(
  { volumes, attachments, clock }: AttachmentSources,
  principal: Principal,
  request: NewAttachment,
): Promise<Attachment> {
  const { volumeId, connector } = request
  const volume = await changeableVolume(volumes, principal, volumeId, 'volume:attachment_create')
  const status = connector === null ? 'reserved' : 'attaching'
  const claimed = await volumes.updateIf(
    volumeId,
    { status: ['available'], migrationStatus: notMigrating },
    { status },
  )
  if (!claimed) {
    throw invalidVolume(
      `Volume ${volumeId} status must be available to reserve, but the status is ${volume.status}.`,
    )
  }
  const id = randomUUID()
  const attachment: Attachment = {
    id,
    headId: id,
    volumeId,
    serverId: request.serverId,
    projectId: volume.projectId,
    host: null,
    status,
    shareId: null,
    rootOf: null,
    attachMode: request.mode,
    mountpoint: typeof connector?.['mountpoint'] === 'string' ? connector['mountpoint'] : null,
    bootIndex: null,
    deleteOnTermination: false,
    connector,
    attachedAt: null,
    createdAt: clock.now().toISOString(),
  }
  await attachments.create(attachment)
  return attachment
}
