import type { VolumeFacts } from '../../app/volume-facts.ts'
import { isAdmin } from '../../domain/principal.ts'
import type { Attachment } from '../../domain/volume.ts'
import { atLeast } from '../microversion.ts'
import type { VolumeCall } from './call.ts'

/** `2026-11-22T08:11:21.000000`: UTC with microseconds and no zone, as Cinder prints times. */
export const cinderTime = (iso: string | null): string | null =>
  iso === null ? null : `${iso.slice(0, 23)}000`

export interface VolumeViewer {
  /** Two viewers with the same text are shown the same. */
  key: string
  isAdmin: boolean
  base: string
  projectId: string
  has: {
    groupId: boolean
    providerId: boolean
    sharedTargets: boolean
    clusterName: boolean
    typeId: boolean
    consumesQuota: boolean
  }
}

/** What of a view depends on the request and not on the volume; made once for a page. */
export function viewerOf(call: VolumeCall): VolumeViewer {
  const since = (version: string): boolean => atLeast(call.version, version)
  const viewer = {
    isAdmin: isAdmin(call.principal),
    base: call.base,
    projectId: call.projectId,
    has: {
      groupId: since('3.13'),
      providerId: since('3.21'),
      sharedTargets: since('3.48'),
      clusterName: since('3.61'),
      typeId: since('3.63'),
      consumesQuota: since('3.65'),
    },
  }
  return { key: JSON.stringify(viewer), ...viewer }
}

const linksOf = (viewer: VolumeViewer, id: string) => [
  { rel: 'self', href: `${viewer.base}/v3/${viewer.projectId}/volumes/${id}` },
  { rel: 'bookmark', href: `${viewer.base}/${viewer.projectId}/volumes/${id}` },
]

export const volumeSummary = (viewer: VolumeViewer, { volume }: VolumeFacts) => ({
  id: volume.id,
  name: volume.name,
  links: linksOf(viewer, volume.id),
})

/** Cinder's `detail` view; the order of the keys is Cinder's. */
export function volumeDetail(viewer: VolumeViewer, facts: VolumeFacts): Record<string, unknown> {
  const { volume } = facts
  const { has } = viewer
  const view: Record<string, unknown> = {
    id: volume.id,
    status: volume.status,
    size: volume.sizeGib,
    availability_zone: volume.availabilityZone,
    created_at: cinderTime(volume.createdAt),
    updated_at: cinderTime(volume.updatedAt),
    name: volume.name,
    description: volume.description,
    volume_type: facts.type?.name ?? null,
    snapshot_id: volume.snapshotId,
    source_volid: volume.sourceVolid,
    metadata: volume.metadata,
    links: linksOf(viewer, volume.id),
    user_id: volume.userId,
    bootable: String(volume.bootable),
    encrypted: false,
    replication_status: null,
    consistencygroup_id: null,
    multiattach: volume.multiattach,
    attachments: facts.attachments.filter(isShown).map((a) => attachmentView(viewer, a)),
  }
  if (viewer.isAdmin) view['migration_status'] = volume.migrationStatus
  if (has.groupId) view['group_id'] = null
  if (has.providerId) view['provider_id'] = null
  if (has.sharedTargets) {
    view['shared_targets'] = facts.host === null
    view['service_uuid'] = facts.serviceId
  }
  if (has.clusterName) view['cluster_name'] = null
  if (has.typeId) view['volume_type_id'] = volume.volumeTypeId
  if (has.consumesQuota) view['consumes_quota'] = true
  return view
}

/** With what Cinder's extensions add when a volume is shown or listed in detail, but not in the answer to create. */
export function volumeFullDetail(viewer: VolumeViewer, facts: VolumeFacts): Record<string, unknown> {
  const { volume } = facts
  const view = volumeDetail(viewer, facts)
  view['os-vol-tenant-attr:tenant_id'] = volume.projectId
  if (viewer.isAdmin) {
    view['os-vol-mig-status-attr:migstat'] = volume.migrationStatus
    view['os-vol-mig-status-attr:name_id'] = null
    view['os-vol-host-attr:host'] = facts.host
  }
  if (Object.keys(volume.imageMetadata).length > 0) view['volume_image_metadata'] = volume.imageMetadata
  return view
}

/** An attachment that is only reserved or under way is not shown as one. */
const isShown = (attachment: Attachment): boolean =>
  attachment.status === 'attached' ||
  attachment.status === 'detaching' ||
  attachment.status === 'error_detaching'

function attachmentView(viewer: VolumeViewer, attachment: Attachment) {
  const connectorHost = attachment.connector?.['host']
  const host = attachment.host ?? (typeof connectorHost === 'string' ? connectorHost : null)
  return {
    id: attachment.volumeId,
    attachment_id: attachment.id,
    volume_id: attachment.volumeId,
    server_id: attachment.serverId,
    host_name: viewer.isAdmin ? host : null,
    device: attachment.mountpoint,
    attached_at: cinderTime(attachment.attachedAt),
  }
}
