import { exportLocationIdOf } from '../../app/share-facts.ts'
import { parseShareHost } from '../../domain/share.ts'
import { isAdmin } from '../../domain/principal.ts'
import { shareSortKeys, type ShareFilter, type SharePageRequest } from '../../domain/share-query.ts'
import type { Topology } from '../../domain/topology.ts'
import type { FlexVol } from '../../domain/volume.ts'
import { atLeast } from '../microversion.ts'
import { pageOf, queryText, type ShareCall } from './call.ts'
import { projectFilter, queryFlag, queryPairs, sortOf, textFilter } from './list-query.ts'

/** What a host and an export location are looked up in. */
export interface Where {
  flexvols(): Promise<FlexVol[]>
  topology: Pick<Topology, 'host' | 'clusters'>
}

/** Shares have none of these. */
const ofNone = ['share_server_id', 'share_network_id', 'share_network', 'share_group_id', 'mount_point_name']

/** The filter that the query asks for, within what the principal may see. Unknown names are left out, as Manila does. */
async function shareFilter(call: ShareCall, where: Where): Promise<ShareFilter> {
  const since = (version: string): boolean => atLeast(call.version, version)
  const type =
    queryText(call, 'share_type_id') ?? queryText(call, 'share_type') ?? queryText(call, 'volume_type_id')
  const metadata = queryPairs(call, 'metadata')
  const location = since('2.35') ? textFilter(call, 'export_location_path', 'path') : {}
  const locationId = since('2.35') ? textFilter(call, 'export_location_id', 'id') : {}
  const isNone =
    ofNone.some((name) => (queryText(call, name) ?? '') !== '') ||
    (since('2.69') && queryFlag(call, 'is_soft_deleted') === true)
  const admin = isAdmin(call.principal)
  return {
    ...projectFilter(call),
    ...(queryFlag(call, 'is_public') === true && { withPublic: true }),
    ...textFilter(call, 'display_name', 'name'),
    ...textFilter(call, 'name', 'name'),
    ...(since('2.36') && {
      ...textFilter(call, 'name~', 'nameContains'),
      ...textFilter(call, 'description~', 'descriptionContains'),
      ...textFilter(call, 'description', 'description'),
    }),
    ...textFilter(call, 'status', 'status'),
    ...textFilter(call, 'snapshot_id', 'snapshotId'),
    ...(admin && textFilter(call, 'user_id', 'userId')),
    ...textFilter(call, 'availability_zone', 'availabilityZone'),
    ...(type !== undefined && type !== '' && { shareTypeIds: [type] }),
    ...(metadata !== undefined && { metadata }),
    ...(location.path !== undefined && { ids: idsOfPath(location.path) }),
    ...(admin && (await hostFilter(call, where))),
    ...(locationId.id !== undefined && (await locationFilter(locationId.id, where))),
    ...(isNone && { none: true }),
  }
}

/** `LIF:/share_…`: the share's id is in it. */
function idsOfPath(path: string): string[] {
  const match = /\/share_([0-9a-f_]{36})$/.exec(path)
  return match === null ? [] : [(match[1] as string).replaceAll('_', '-')]
}

/** An export location's id follows from the share's. */
async function locationFilter(id: string, where: Where): Promise<{ ids: string[] }> {
  const shareIds = (await where.flexvols()).flatMap(({ shareId }) => shareId ?? [])
  return { ids: shareIds.filter((shareId) => exportLocationIdOf(shareId) === id) }
}

/** A host, a backend of it or one pool. */
async function hostFilter(call: ShareCall, { flexvols, topology }: Where): Promise<ShareFilter> {
  const text = queryText(call, 'host')
  if (text === undefined || text === '') return {}
  const [host = '', rest = ''] = text.split('@')
  const [backend] = rest.split('#')
  if (host !== topology.host) return { none: true }
  if (backend === '') return {}
  const cluster = topology.clusters.find(({ shares }) => shares?.backend === backend)
  if (cluster === undefined) return { none: true }
  if (!rest.includes('#')) return { cluster: cluster.name }
  const { pool } = parseShareHost(text)
  const found = (await flexvols()).filter(
    (flexvol) => flexvol.shareId !== null && flexvol.cluster === cluster.name && flexvol.aggregate === pool,
  )
  return { flexvolIds: found.map(({ id }) => id) }
}

const olderKeys = {
  display_name: 'name',
  share_type: 'share_type_id',
  snapshot: 'snapshot_id',
  availability_zone_id: 'availability_zone',
  share_network_id: 'id',
  share_network: 'id',
} as const

export const sharePage = async (call: ShareCall, where: Where): Promise<SharePageRequest> => ({
  filter: await shareFilter(call, where),
  sort: sortOf(call, shareSortKeys, olderKeys),
  ...pageOf(call),
})
