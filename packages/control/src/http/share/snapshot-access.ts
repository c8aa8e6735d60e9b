import { DomainError } from '@volant/contract'
import { Type } from 'typebox'
import type { ShareSnapshotAccess, SnapshotExportLocation } from '../../app/share-snapshot-access.ts'
import { catalogId } from '../../domain/catalog.ts'
import { isAdmin } from '../../domain/principal.ts'
import type { SnapshotAccessRule } from '../../domain/share.ts'
import { accepted, ok } from '../answer.ts'
import { nameText } from '../parse.ts'
import { parseDeny } from './access-rule.ts'
import { argument, type Action } from './action.ts'
import { linksOf, manilaTime, param, type ShareCall, type ShareRoutes } from './call.ts'

const since = { since: '2.32' }
const id = (call: ShareCall): string => param(call, 'snapshot_id')

const ruleView = ({ id: ruleId, accessType, accessTo, state }: SnapshotAccessRule) => ({
  id: ruleId,
  access_type: accessType,
  access_to: accessTo,
  state,
})

const locationView = (call: ShareCall, snapshotId: string, location: SnapshotExportLocation) => ({
  id: location.id,
  path: location.path,
  links: linksOf(call, `snapshots/${snapshotId}/export-locations`, location.id),
  ...(isAdmin(call.principal) && {
    share_snapshot_instance_id: catalogId('share-snapshot-instance', snapshotId),
    is_admin_only: false,
  }),
})

/** Rules of a snapshot that can be mounted, and where it is mounted. */
export function registerSnapshotAccess(routes: ShareRoutes, access: ShareSnapshotAccess): void {
  routes.get(
    '/snapshots/:snapshot_id/access-list',
    async (call) => ok({ snapshot_access_list: (await access.list(call.principal, id(call))).map(ruleView) }),
    since,
  )
  const locations = (call: ShareCall) => access.exportLocations(call.principal, id(call))
  routes.get(
    '/snapshots/:snapshot_id/export-locations',
    async (call) =>
      ok({
        share_snapshot_export_locations: (await locations(call)).map((one) =>
          locationView(call, id(call), one),
        ),
      }),
    since,
  )
  routes.get(
    '/snapshots/:snapshot_id/export-locations/:location_id',
    async (call) => {
      const wanted = param(call, 'location_id')
      const found = (await locations(call)).find((one) => one.id === wanted)
      if (found === undefined) {
        throw new DomainError('notFound', `Export location ${wanted} could not be found.`)
      }
      return ok({
        share_snapshot_export_location: {
          ...locationView(call, id(call), found),
          created_at: manilaTime(found.createdAt),
          updated_at: manilaTime(found.updatedAt),
        },
      })
    },
    since,
  )
}

const parseAllow = argument(
  'allow_access',
  Type.Object({ access_type: nameText({ minLength: 1 }), access_to: nameText({ minLength: 1 }) }),
)

export const snapshotAccessActions = (access: ShareSnapshotAccess): Record<string, Action> => ({
  allow_access: {
    ...since,
    run: async (call, snapshotId, value) => {
      const asked = parseAllow(value)
      const rule = await access.allow(call.principal, snapshotId, {
        accessType: asked.access_type,
        accessTo: asked.access_to.trim(),
        requestId: call.requestId,
      })
      return accepted({ snapshot_access: ruleView(rule) })
    },
  },
  deny_access: {
    ...since,
    run: async (call, snapshotId, value) => {
      const ruleId = parseDeny(value).access_id
      await access.deny(call.principal, snapshotId, { ruleId, requestId: call.requestId })
      return accepted()
    },
  },
})
