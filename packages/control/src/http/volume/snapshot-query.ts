import {
  snapshotSortKeys,
  type SnapshotFilter,
  type SnapshotPageRequest,
} from '../../domain/snapshot-query.ts'
import { pageOf, type VolumeCall } from './call.ts'
import { boolean, filterOf, pairs, projectFilter, several, sortKeyOf, sortOf } from './list-query.ts'

type Apply = (filter: SnapshotFilter, value: string) => void

const filters: Record<string, Apply> = {
  id: (f, v) => void (f.ids = several(v)),
  name: (f, v) => void (f.names = several(v)),
  display_name: (f, v) => void (f.names = several(v)),
  'name~': (f, v) => void (f.nameContains = v),
  'description~': (f, v) => void (f.descriptionContains = v),
  status: (f, v) => void (f.statuses = several(v)),
  'status~': (f, v) => void (f.statusContains = v),
  volume_id: (f, v) => void (f.volumeIds = several(v)),
  user_id: (f, v) => void (f.userIds = several(v)),
  size: (f, v) => void (f.sizes = several(v).map((text) => (/^\d{1,9}$/.test(text) ? Number(text) : -1))),
  volume_size: (f, v) =>
    void (f.sizes = several(v).map((text) => (/^\d{1,9}$/.test(text) ? Number(text) : -1))),
  availability_zone: (f, v) => void (f.availabilityZones = several(v)),
  metadata: (f, v) => void (f.metadata = pairs('metadata', v)),
  consumes_quota: (f, v) => void (boolean('consumes_quota', v) || (f.ids = [])),
}

/** What `GET /resource_filters` tells of snapshots; `~` says that a part of the text will do. */
export const snapshotFilterNames = Object.keys(filters).filter(
  (name) => name !== 'display_name' && name !== 'volume_size',
)

const administrators: ReadonlySet<string> = new Set(['user_id'])

const olderKeys = { display_name: 'name', volume_size: 'size' } as const

export const snapshotFilter = (call: VolumeCall): SnapshotFilter => ({
  ...filterOf<SnapshotFilter, undefined>(call, filters, administrators, undefined),
  ...projectFilter(call),
})

export const snapshotPage = (call: VolumeCall): SnapshotPageRequest => ({
  filter: snapshotFilter(call),
  sort: sortOf(call, (text) => sortKeyOf(text, snapshotSortKeys, olderKeys)),
  ...pageOf(call),
})
