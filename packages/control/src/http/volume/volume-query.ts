import { DomainError } from '@volant/contract'
import { isAdmin } from '../../domain/principal.ts'
import { poolName } from '../../domain/topology.ts'
import {
  volumeSortKeys,
  type TimeComparison,
  type VolumeFilter,
  type VolumePageRequest,
  type VolumeSort,
  type VolumeSortKey,
} from '../../domain/volume-query.ts'
import type { FlexVol } from '../../domain/volume.ts'
import { atLeast } from '../microversion.ts'
import { booleanOf, pageOf, queryText, type VolumeCall } from './call.ts'

const invalid = (message: string): DomainError =>
  new DomainError('invalid', `Invalid input received: ${message}`)

/** Query names that are not filters. */
const others = new Set([
  'limit',
  'offset',
  'marker',
  'sort',
  'sort_key',
  'sort_dir',
  'all_tenants',
  'with_count',
])

type Apply = (filter: VolumeFilter, value: string, where: { flexvols: FlexVol[]; host: string }) => void

const several = (value: string): string[] => {
  const list = /^\[(.*)\]$/s.exec(value)
  if (list === null) return [value]
  return (list[1] as string).split(',').map((text) => text.trim().replace(/^(['"])(.*)\1$/s, '$2'))
}

const boolean = (name: string, value: string): boolean => {
  const found = booleanOf(value)
  if (found === undefined) throw invalid(`${name} must be true or false, not '${value.slice(0, 80)}'.`)
  return found
}

const pairs = (name: string, value: string): Record<string, string> => {
  try {
    // The clients send Python's notation of a dictionary: {'key': 'value'}.
    const json = value.includes('"') ? value : value.replaceAll(`u'`, `'`).replaceAll(`'`, '"')
    const parsed: unknown = JSON.parse(json)
    if (parsed !== null && typeof parsed === 'object' && !Array.isArray(parsed)) {
      return Object.fromEntries(Object.entries(parsed).map(([k, v]) => [k, String(v)]))
    }
  } catch {
    // Said below.
  }
  throw invalid(`${name} must be an object such as {"key": "value"}.`)
}

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
  snapshot_id: nothing,
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

const operators: Record<string, TimeComparison['operator']> = {
  eq: '=',
  neq: '!=',
  gt: '>',
  gte: '>=',
  lt: '<',
  lte: '<=',
}

function comparisons(name: string, value: string): TimeComparison[] {
  return value.split(',').map((part) => {
    const match = /^(?:(eq|neq|gt|gte|lt|lte):)?(.+)$/s.exec(part.trim())
    const text = match?.[2] ?? ''
    const time = new Date(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text}Z`)
    if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(time.getTime())) {
      throw invalid(`${name} must be an ISO 8601 time, with gt:, gte:, lt:, lte:, eq: or neq: before it.`)
    }
    return { operator: operators[match?.[1] ?? 'eq'] ?? '=', time: time.toISOString() }
  })
}

/** The filter that the query asks for, within what the principal may see. */
export function volumeFilter(call: VolumeCall, where: { flexvols: FlexVol[]; host: string }): VolumeFilter {
  const filter: VolumeFilter = {}
  const unknown: string[] = []
  const admin = isAdmin(call.principal)
  for (const name of Object.keys(call.query)) {
    const value = queryText(call, name)
    if (others.has(name) || name === 'project_id' || name === 'tenant_id' || value === undefined) continue
    const apply = Object.hasOwn(filters, name) ? filters[name] : undefined
    if (apply === undefined || (administrators.has(name) && !admin)) unknown.push(name)
    else apply(filter, value, where)
  }
  if (unknown.length > 0 && atLeast(call.version, '3.31')) {
    throw invalid(
      `Invalid filters ${unknown
        .slice(0, 5)
        .map((n) => n.slice(0, 80))
        .join(', ')} are found in query options.`,
    )
  }
  return { ...filter, ...projectFilter(call, admin) }
}

function projectFilter(call: VolumeCall, admin: boolean): Pick<VolumeFilter, 'projectId'> {
  const own = { projectId: call.principal.projectId ?? '' }
  const all = queryText(call, 'all_tenants')
  if (!admin || all === undefined || booleanOf(all) === false) return own
  if (booleanOf(all) === undefined) throw invalid(`all_tenants must be 0 or 1, not '${all.slice(0, 80)}'.`)
  const asked = queryText(call, 'project_id') ?? queryText(call, 'tenant_id')
  return asked === undefined ? {} : { projectId: asked }
}

const keyNames: Record<string, VolumeSortKey> = { display_name: 'name', volume_size: 'size' }

function sortKey(text: string): VolumeSortKey {
  const key = keyNames[text] ?? text
  if (!(volumeSortKeys as readonly string[]).includes(key)) {
    throw invalid(`sort key '${text.slice(0, 80)}' is none of ${volumeSortKeys.join(', ')}.`)
  }
  return key as VolumeSortKey
}

function direction(text: string): VolumeSort['direction'] {
  if (text === 'asc' || text === 'desc') return text
  throw invalid(`sort direction must be asc or desc, not '${text.slice(0, 80)}'.`)
}

/** `sort=key:dir,key`, or the older `sort_key` with `sort_dir`. Cinder's default is the newest first. */
export function volumeSort(call: VolumeCall): VolumeSort[] {
  const sort = queryText(call, 'sort')
  const key = queryText(call, 'sort_key')
  const dir = queryText(call, 'sort_dir')
  if (sort !== undefined) {
    if (key !== undefined || dir !== undefined) {
      throw invalid('the sort parameter cannot be used together with sort_key and sort_dir.')
    }
    return unique(
      sort.split(',').map((part) => {
        const [name = '', order = 'desc'] = part.trim().split(':')
        return { key: sortKey(name), direction: direction(order) }
      }),
    )
  }
  const order = direction(dir ?? 'desc')
  if (key === undefined) {
    return [
      { key: 'created_at', direction: order },
      { key: 'id', direction: order },
    ]
  }
  return unique(key.split(',').map((name) => ({ key: sortKey(name.trim()), direction: order })))
}

function unique(sort: VolumeSort[]): VolumeSort[] {
  const seen = new Set<VolumeSortKey>()
  return sort.filter((s) => !seen.has(s.key) && seen.add(s.key))
}

export function volumePage(
  call: VolumeCall,
  where: { flexvols: FlexVol[]; host: string },
): VolumePageRequest {
  return { filter: volumeFilter(call, where), sort: volumeSort(call), ...pageOf(call) }
}
