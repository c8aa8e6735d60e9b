import { DomainError } from '@volant/contract'
import { enforce } from '../../domain/policy.ts'
import { ok } from '../answer.ts'
import { param, type ShareCall, type ShareRoutes, type Versions } from './call.ts'

interface Kind {
  path: string
  key: string
  one: string
  instead: string
  versions?: Versions
}

const networks =
  'Each backend serves its shares at an address of its own: use driver_handles_share_servers=False.'

/** Kinds of things that clients list and that Volant does not make. */
const kinds: Kind[] = [
  { path: '/share-networks', key: 'share_networks', one: 'Share network', instead: networks },
  {
    path: '/share-servers',
    key: 'share_servers',
    one: 'Share server',
    instead: networks,
  },
  { path: '/security-services', key: 'security_services', one: 'Security service', instead: networks },
  {
    path: '/share-groups',
    key: 'share_groups',
    one: 'Share group',
    instead: 'Make shares one by one.',
    versions: { since: '2.31', experimentalUntil: '2.54' },
  },
  {
    path: '/share-group-types',
    key: 'share_group_types',
    one: 'Share group type',
    instead: 'Make shares one by one.',
    versions: { since: '2.31', experimentalUntil: '2.54' },
  },
  {
    path: '/share-group-snapshots',
    key: 'share_group_snapshots',
    one: 'Share group snapshot',
    instead: 'Make snapshots one by one.',
    versions: { since: '2.31', experimentalUntil: '2.54' },
  },
  {
    path: '/share-replicas',
    key: 'share_replicas',
    one: 'Share replica',
    instead: 'Make snapshots, and shares of them.',
    versions: { since: '2.11', experimentalUntil: '2.55' },
  },
  {
    path: '/snapshot-instances',
    key: 'snapshot_instances',
    one: 'Snapshot instance',
    instead: 'Act on the snapshot itself.',
    versions: { since: '2.19' },
  },
  {
    path: '/share-transfers',
    key: 'transfers',
    one: 'Share transfer',
    instead: 'Make the share in the other project.',
    versions: { since: '2.77' },
  },
  {
    path: '/share-backups',
    key: 'share_backups',
    one: 'Share backup',
    instead: 'Make a snapshot, or a share of one.',
    versions: { since: '2.80' },
  },
  {
    path: '/resource-locks',
    key: 'resource_locks',
    one: 'Resource lock',
    instead: 'Who may not delete a share should not have the role member.',
    versions: { since: '2.81' },
  },
  {
    path: '/qos-types',
    key: 'qos_types',
    one: 'QoS type',
    instead: 'Set the rate of a migration with /ndo/v1/operations.',
    versions: { since: '2.94' },
  },
]

/** Their lists are empty, each of them is not found, and making one is refused with what can be done instead. */
export function registerUnsupported(routes: ShareRoutes): void {
  for (const { path, key, one, instead, versions } of kinds) {
    const none = () => ok({ [key]: [] })
    const absent = (call: ShareCall) => {
      throw new DomainError('notFound', `${one} ${param(call, 'id')} could not be found.`)
    }
    routes.get(path, none, versions)
    routes.get(`${path}/detail`, none, versions)
    routes.post(
      path,
      () => {
        throw new DomainError('invalid', `${one} creation is not supported. ${instead}`)
      },
      versions,
    )
    routes.get(`${path}/:id`, absent, versions)
    routes.put(`${path}/:id`, absent, versions)
    routes.delete(`${path}/:id`, absent, versions)
    routes.post(`${path}/:id/action`, absent, versions)
  }
  for (const [path, versions] of [
    ['/shares/manage', { since: '2.7' }],
    ['/os-share-manage', { until: '2.6' }],
  ] as const) {
    routes.post(
      path,
      (call) => {
        enforce(call.principal, 'share:manage', 'admin')
        throw new DomainError('invalid', 'Taking over shares that Volant did not make is not supported.')
      },
      versions,
    )
  }
}
