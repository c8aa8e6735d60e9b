import { DomainError } from '@volant/contract'
import { notSupported } from '../../app/volume-access.ts'
import { enforce } from '../../domain/policy.ts'
import { ok, param, type VolumeRoutes } from './call.ts'

/** Kinds of things that clients list and that Volant does not make. */
const kinds: { path: string; key: string; one: string; since?: string; instead: string }[] = [
  { path: '/backups', key: 'backups', one: 'Backup', instead: 'Make a snapshot, or a volume of one.' },
  { path: '/groups', key: 'groups', one: 'Group', since: '3.13', instead: 'Make volumes one by one.' },
  {
    path: '/group_types',
    key: 'group_types',
    one: 'Group type',
    since: '3.11',
    instead: 'Make volumes one by one.',
  },
  {
    path: '/group_snapshots',
    key: 'group_snapshots',
    one: 'Group snapshot',
    since: '3.14',
    instead: 'Make snapshots one by one.',
  },
  {
    path: '/consistencygroups',
    key: 'consistencygroups',
    one: 'Consistency group',
    instead: 'Make volumes one by one.',
  },
  {
    path: '/os-volume-transfer',
    key: 'transfers',
    one: 'Volume transfer',
    instead: 'Make the volume in the other project.',
  },
  {
    path: '/volume-transfers',
    key: 'transfers',
    one: 'Volume transfer',
    since: '3.55',
    instead: 'Make the volume in the other project.',
  },
  {
    path: '/default-types',
    key: 'default_types',
    one: 'Default type of a project',
    since: '3.62',
    instead: 'Volumes without a type get the type __DEFAULT__.',
  },
  {
    path: '/qos-specs',
    key: 'qos_specs',
    one: 'QoS specs',
    instead: 'Set the rate of a migration with /ndo/v1/operations.',
  },
]

/** Their lists are empty, each of them is not found, and making one is refused with what can be done instead. */
export function registerUnsupported(routes: VolumeRoutes): void {
  for (const { path, key, one, since, instead } of kinds) {
    const none = () => ok({ [key]: [] })
    const missing = (id: string) => new DomainError('notFound', `${one} ${id} could not be found.`)
    const refuse = () => {
      throw notSupported(`${one} creation is not supported. ${instead}`)
    }
    routes.get(path, none, since)
    routes.get(`${path}/detail`, none, since)
    routes.post(path, refuse, since)
    const absent = (call: Parameters<typeof param>[0]) => {
      throw missing(param(call, 'id'))
    }
    routes.get(`${path}/:id`, absent, since)
    routes.put(`${path}/:id`, absent, since)
    routes.delete(`${path}/:id`, absent, since)
    routes.post(`${path}/:id/action`, absent, since)
  }
  for (const path of ['/os-volume-manage', '/os-snapshot-manage', '/manageable_volumes']) {
    routes.post(path, (call) => {
      enforce(call.principal, 'volume_extension:volume_manage', 'admin')
      throw notSupported('Taking over images that Volant did not make is not supported.')
    })
  }
  routes.get('/clusters', () => ok({ clusters: [] }), '3.7')
}
