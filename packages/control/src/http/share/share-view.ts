import type { ExportLocation, ShareFacts } from '../../app/share-facts.ts'
import { isAdmin } from '../../domain/principal.ts'
import { atLeast } from '../microversion.ts'
import { linksOf, manilaTime, type ShareCall } from './call.ts'

/** Manila's view in lists without detail. */
export const shareSummary = (call: ShareCall, { share }: ShareFacts) => ({
  id: share.id,
  name: share.name,
  links: linksOf(call, 'shares', share.id),
})

/** Manila's view of a share; each microversion shows what it knows. */
export function shareDetail(call: ShareCall, facts: ShareFacts): Record<string, unknown> {
  const { share, type } = facts
  const since = (version: string): boolean => atLeast(call.version, version)
  const paths = facts.exportLocations.map(({ path }) => path)
  return {
    id: share.id,
    size: share.sizeGib,
    availability_zone: share.availabilityZone,
    created_at: manilaTime(share.createdAt),
    status: statusText(call, share.status),
    name: share.name,
    description: share.description,
    project_id: share.projectId,
    snapshot_id: share.sourceSnapshotId,
    share_network_id: null,
    share_proto: 'NFS',
    metadata: share.metadata,
    share_type: since('2.6') ? share.shareTypeId : (type?.name ?? share.shareTypeId),
    volume_type: type?.name ?? share.shareTypeId,
    links: linksOf(call, 'shares', share.id),
    is_public: share.isPublic,
    ...(!since('2.9') && { export_location: paths[0] ?? null, export_locations: paths }),
    ...(since('2.2') && { snapshot_support: share.snapshotSupport }),
    ...(since('2.5') && { task_state: share.taskState }),
    ...(since('2.6') && { share_type_name: type?.name ?? null }),
    ...(since('2.10') && { access_rules_status: rulesStatusText(call, share.accessRulesStatus) }),
    ...(since('2.11') && { replication_type: null, has_replicas: false }),
    ...(since('2.16') && { user_id: share.userId }),
    ...(since('2.24') && { create_share_from_snapshot_support: share.createShareFromSnapshotSupport }),
    ...(since('2.27') && { revert_to_snapshot_support: share.revertToSnapshotSupport }),
    ...(since('2.31') && { share_group_id: null, source_share_group_snapshot_member_id: null }),
    ...(since('2.32') && { mount_snapshot_support: share.mountSnapshotSupport }),
    ...(since('2.54') && { progress: share.exportId !== null && paths.length > 0 ? '100%' : '0%' }),
    ...(since('2.69') && { is_soft_deleted: false, scheduled_to_be_deleted_at: null }),
    ...(since('2.80') && { source_backup_id: null }),
    ...(since('2.90') && { encryption_key_ref: null }),
    ...(isAdmin(call.principal) && { share_server_id: null, host: facts.host }),
  }
}

/** Before 2.54 a share that is made of a snapshot is `creating` like any. */
const statusText = (call: ShareCall, status: string): string =>
  status === 'creating_from_snapshot' && !atLeast(call.version, '2.54') ? 'creating' : status

const rulesStatusText = (call: ShareCall, status: string): string =>
  status === 'syncing' && !atLeast(call.version, '2.28') ? 'out_of_sync' : status

/** The one instance that a share has, as Manila's administrators see it. */
export function shareInstanceView(call: ShareCall, facts: ShareFacts): Record<string, unknown> {
  const { share } = facts
  const since = (version: string): boolean => atLeast(call.version, version)
  const paths = facts.exportLocations.map(({ path }) => path)
  return {
    id: facts.instanceId,
    share_id: share.id,
    availability_zone: share.availabilityZone,
    created_at: manilaTime(share.createdAt),
    host: facts.host,
    status: statusText(call, share.status),
    share_network_id: null,
    share_server_id: null,
    ...(!since('2.9') && { export_location: paths[0] ?? null, export_locations: paths }),
    ...(since('2.10') && { access_rules_status: rulesStatusText(call, share.accessRulesStatus) }),
    ...(since('2.11') && { replica_state: null }),
    ...(since('2.22') && { share_type_id: share.shareTypeId }),
    ...(since('2.30') && { cast_rules_to_readonly: false }),
    ...(since('2.54') && { progress: paths.length > 0 ? '100%' : '0%' }),
    ...(since('2.71') && { updated_at: manilaTime(share.updatedAt) }),
  }
}

export const exportLocationView = (call: ShareCall, location: ExportLocation, detail: boolean) => ({
  id: location.id,
  path: location.path,
  ...(atLeast(call.version, '2.14') && { preferred: true }),
  ...(atLeast(call.version, '2.87') && { metadata: {} }),
  ...(isAdmin(call.principal) && { share_instance_id: location.shareInstanceId, is_admin_only: false }),
  ...(detail && {
    created_at: manilaTime(location.createdAt),
    updated_at: manilaTime(location.updatedAt),
  }),
})
