import { isAdmin } from '../../domain/principal.ts'
import type { Snapshot } from '../../domain/snapshot.ts'
import { atLeast } from '../microversion.ts'
import type { VolumeCall } from './call.ts'
import { cinderTime } from './volume-view.ts'

/** Cinder's view in lists without detail. */
export const snapshotSummary = (snapshot: Snapshot) => ({
  id: snapshot.id,
  created_at: cinderTime(snapshot.createdAt),
  updated_at: cinderTime(snapshot.updatedAt),
  name: snapshot.name,
  description: snapshot.description,
  volume_id: snapshot.volumeId,
  status: snapshot.status,
  size: snapshot.sizeGib,
  metadata: snapshot.metadata,
})

/** Cinder's `detail` view, and, for administrators, how the snapshot was made: `clone` or `copy`. */
export function snapshotDetail(call: VolumeCall, snapshot: Snapshot): Record<string, unknown> {
  const since = (version: string): boolean => atLeast(call.version, version)
  return {
    ...snapshotSummary(snapshot),
    'os-extended-snapshot-attributes:progress': snapshot.imageId === null ? '0%' : '100%',
    'os-extended-snapshot-attributes:project_id': snapshot.projectId,
    ...(since('3.14') && { group_snapshot_id: null }),
    ...(since('3.41') && { user_id: snapshot.userId }),
    ...(since('3.65') && { consumes_quota: true }),
    ...(isAdmin(call.principal) && { 'volant:method': snapshot.method }),
  }
}
