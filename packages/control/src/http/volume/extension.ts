import { ok, queryText, type VolumeRoutes } from './call.ts'
import { snapshotFilterNames } from './snapshot-query.ts'
import { volumeFilterNames } from './volume-query.ts'

const extensions: [alias: string, name: string, description: string][] = [
  ['os-admin-actions', 'AdminActions', 'Enable admin actions.'],
  ['os-availability-zone', 'AvailabilityZones', 'Describe Availability Zones.'],
  ['capabilities', 'Capabilities', 'Capabilities support.'],
  ['os-extended-services', 'ExtendedServices', 'Extended services support.'],
  ['os-hosts', 'Hosts', 'Admin-only host administration.'],
  ['os-quota-class-sets', 'QuotaClasses', 'Quota classes management support.'],
  ['os-quota-sets', 'Quotas', 'Quota management support.'],
  ['scheduler-stats', 'SchedulerStats', 'Scheduler stats support.'],
  ['os-extended-snapshot-attributes', 'ExtendedSnapshotAttributes', 'Extended SnapshotAttributes support.'],
  ['os-snapshot-actions', 'SnapshotActions', 'Enable snapshot manager actions.'],
  ['os-services', 'Services', 'Services support.'],
  ['os-types-extra-specs', 'TypesExtraSpecs', 'Type extra specs support.'],
  ['os-types-manage', 'TypesManage', 'Types manage support.'],
  ['os-used-limits', 'UsedLimits', 'Provide data on limited resources that are being used.'],
  ['os-volume-actions', 'VolumeActions', 'Enable volume actions.'],
  ['os-vol-host-attr', 'VolumeHostAttribute', 'Expose host as an attribute of a volume.'],
  ['os-vol-image-meta', 'VolumeImageMetadata', 'Show image metadata associated with the volume.'],
  [
    'os-vol-mig-status-attr',
    'VolumeMigStatusAttribute',
    'Expose migration_status as an attribute of a volume.',
  ],
  [
    'os-vol-tenant-attr',
    'VolumeTenantAttribute',
    'Expose the internal project_id as an attribute of a volume.',
  ],
  ['os-volume-type-access', 'VolumeTypeAccess', 'Volume type access support.'],
]

/** The parts of Cinder's API that were extensions once and that Volant has. */
export function registerExtensions(routes: VolumeRoutes): void {
  const all = extensions.map(([alias, name, description]) => ({
    alias,
    name,
    description,
    updated: '2022-08-31T00:00:00+00:00',
    links: [],
  }))
  routes.get(
    '/resource_filters',
    (call) => {
      const asked = queryText(call, 'resource')
      const known = [
        { resource: 'volume', filters: volumeFilterNames },
        { resource: 'snapshot', filters: snapshotFilterNames },
      ]
      return ok({ resource_filters: known.filter((one) => asked === undefined || one.resource === asked) })
    },
    '3.33',
  )
  routes.get('/extensions', () => ok({ extensions: all }))
}
