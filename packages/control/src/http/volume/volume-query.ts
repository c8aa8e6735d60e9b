import { poolName } from '../../domain/topology.ts'
import { volumeSortKeys, type VolumeFilter, type VolumePageRequest } from '../../domain/volume-query.ts'
import type { FlexVol } from '../../domain/volume.ts'
import { pageOf, type VolumeCall } from './call.ts'
import {
  boolean,
  comparisons,
  filterOf,
  pairs,
  projectFilter,
  several,
  sortKeyOf,
  sortOf,
} from './list-query.ts'

interface Where {
  flexvols: FlexVol[]
  /** The first part of host strings. */
  host: string
}

type Apply = (filter: VolumeFilter, value: string, where: Where) => void

const filters: Record<string, Apply> = {
  id: (f, v) => void (f.ids = several(v)),
  name: (f, v) => void (f.names = several(v)),
  display_name: (f, v) => void (f.names = several(v)),
  'name~': (f, v) => void (f.nameContains = v),
  description: (f, v) => void (f.descriptions = several(v)),
  'description~': (f, v) => void (f.descriptionContains = v),
  status: (f, v) => void (f.statuses = several(v)),
  'status~': (f, v) => void (f.statusContains = v),
  size: (f, v) => void (f.sizes = several(v).map((text) => (/^\d{1,9}$/.test(text) ? Number(text) : -1))),
  availability_zone: (f, v) => void (f.availabilityZones = several(v)),
  bootable: (f, v) => void (f.bootable = boolean('bootable', v)),
  multiattach: (f, v) => void (f.multiattach = boolean('multiattach', v)),
  encrypted: (f, v) => void (boolean('encrypted', v) && nothing(f)),
  volume_type_id: (f, v) => void (f.volumeTypeIds = several(v)),
  user_id: (f, v) => void (f.userIds = several(v)),
  source_volid: (f, v) => void (f.sourceVolids = several(v)),
  snapshot_id: (f, v) => void (f.snapshotIds = several(v)),
  migration_status: (f, v) =>
    void (f.migrationStatuses = several(v).map((s) => (s.toLowerCase() === 'none' ? null : s))),
  metadata: (f, v) => void (f.metadata = pairs('metadata', v)),
  glance_metadata: (f, v) => void (f.imageMetadata = pairs('glance_metadata', v)),
  attach_status: (f, v) => void (f.statuses = v === 'attached' ? ['in-use', 'detaching'] : detachedStatuses),
  created_at: (f, v) => void (f.createdAt = comparisons('created_at', v)),
  updated_at: (f, v) => void (f.updatedAt = comparisons('updated_at', v)),
  host: (f, v, { flexvols, host }) =>
    void (f.flexvolIds = flexvols.filter((x) => isIn(x, host, v)).map((x) => x.id)),
  // Volumes have none of these.
  group_id: nothing,
  consistencygroup_id: nothing,
  cluster_name: nothing,
}

/** What `GET /resource_filters` tells of volumes; `~` says that a part of the text will do. */
export const volumeFilterNames = Object.keys(filters).filter((name) => name !== 'display_name')

const detachedStatuses = [
  'available',
  'creating',
  'downloading',
  'error',
  'reserved',
  'attaching',
  'deleting',
]

/** Filters that are the administrator's. */
const administrators = new Set(['host', 'user_id', 'migration_status', 'cluster_name'])

function nothing(filter: VolumeFilter): void {
  filter.ids = []
}

/** A host, a backend of it or one pool. */
const isIn = (flexvol: FlexVol, host: string, asked: string): boolean => {
  const backend = `${host}@${flexvol.cluster}`
  return asked === host || asked === backend || asked === `${backend}#${poolName(flexvol)}`
}

/** The filter that the query asks for, within what the principal may see. */
export const volumeFilter = (call: VolumeCall, where: Where): VolumeFilter => ({
  ...filterOf<VolumeFilter, Where>(call, filters, administrators, where),
  ...projectFilter(call),
})

const olderKeys = { display_name: 'name', volume_size: 'size' } as const

export const volumePage = (call: VolumeCall, where: Where): VolumePageRequest => ({
  filter: volumeFilter(call, where),
  sort: sortOf(call, (text) => sortKeyOf(text, volumeSortKeys, olderKeys)),
  ...pageOf(call),
})
